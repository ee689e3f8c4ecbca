//! `Pooled<A>`: few values, many slots: each slot is a code, and a dictionary says what it stands for.
//!
//! ```text
//! slots        0   1   2   3   4
//!            ┌───┬───┬───┬───┬───┐
//! codes      │ 0 │ 1 │ 0 │ 0 │ 1 │     in the narrowest of 1, 2, 4 and 8 bytes that counts the dictionary
//!            └───┴───┴───┴───┴───┘
//!            ┌────────┬────────┐
//! dictionary │ "AIR"  │ "RAIL" │       any layout; code 0 is its first value
//!            └────────┴────────┘
//! ```

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

use mempool_core::{Buffer, Result};

use crate::description::{Kind, Node, Width};
use crate::error::ArrayError;
use crate::layout::{
    Buildable, Builder, Growing, Layout, Meter, Rearrange, Replacing, debug, tag_over,
};
use crate::merging::{Known, Merging, Working};
use crate::part::{Assembly, Parts};
use crate::values::Values;

/// The codes of a [`Pooled`] array, in the narrowest numbers that count its dictionary.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each is named by its width")]
pub enum Codes {
    U8(Values<u8>),
    U16(Values<u16>),
    U32(Values<u32>),
    U64(Values<u64>),
}

/// Does the same with codes of each width.
macro_rules! each {
    ($codes:expr, $values:ident => $do:expr) => {
        match $codes {
            Codes::U8($values) => $do,
            Codes::U16($values) => $do,
            Codes::U32($values) => $do,
            Codes::U64($values) => $do,
        }
    };
}

impl Codes {
    /// How many slots there are.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "an array says that it is empty, its codes need not"
    )]
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// The width of a code in bytes.
    #[must_use]
    pub fn width(&self) -> Width {
        match self {
            Self::U8(_) => 1,
            Self::U16(_) => 2,
            Self::U32(_) => 4,
            Self::U64(_) => 8,
        }
    }

    /// The code of slot `index`; `None` behind the last.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<usize> {
        each!(self, values => values.get(index).map(|&code| index_of(code)))
    }

    /// Shows each code in order.
    pub fn for_each(&self, mut visit: impl FnMut(usize)) {
        each!(self, values => values.iter().for_each(|&code| visit(index_of(code))));
    }

    /// All codes in order. To look at millions, match on the width: then the loop knows it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::U8(values) => Self::U8(values.slice(range)),
            Self::U16(values) => Self::U16(values.slice(range)),
            Self::U32(values) => Self::U32(values.slice(range)),
            Self::U64(values) => Self::U64(values.slice(range)),
        }
    }

    /// Checks that all are below `dictionary`.
    fn check(&self, dictionary: usize) -> Result<(), ArrayError> {
        let most = each!(self, values => values.iter().max().map(|&code| index_of(code)));
        if most.is_none_or(|most| most < dictionary) {
            return Ok(());
        }
        let wrong = self.iter().enumerate().find(|&(_, code)| code >= dictionary);
        wrong.map_or(Ok(()), |(index, code)| Err(behind(index, code, dictionary)))
    }

    fn assemble(width: Width, slots: usize, bytes: Buffer) -> Result<Self, ArrayError> {
        let expected = slots.checked_mul(width.into());
        crate::part::check_length("codes", slots, expected, &bytes)?;
        Ok(match width {
            1 => Self::U8(Values::from_buffer(bytes)?),
            2 => Self::U16(Values::from_buffer(bytes)?),
            4 => Self::U32(Values::from_buffer(bytes)?),
            _ => Self::U64(Values::from_buffer(bytes)?),
        })
    }

    fn buffer(&self) -> &Buffer {
        each!(self, values => values.buffer())
    }
}

/// The error of a code that points behind the end of its dictionary.
fn behind(index: usize, code: usize, dictionary: usize) -> ArrayError {
    let [index, code, dictionary] = [index, code, dictionary].map(|number| number as u64);
    ArrayError::Code { index, code, dictionary }
}

/// A code as an index. Checked codes are below the length of something in memory.
fn index_of(code: impl Into<u64>) -> usize {
    usize::try_from(code.into()).unwrap_or(usize::MAX)
}

/// An array of few different values: a code a slot, and a dictionary of the values.
///
/// *Shape*: codes in the narrowest of `u8`, `u16`, `u32` and `u64` that counts the dictionary, beside the dictionary, which
/// is an array of any layout. A slice shares the whole dictionary.
///
/// ```
/// use mempool_arrays::{Layout, Pooled, Strings};
///
/// let modes: Pooled<Strings> = ["AIR", "RAIL", "AIR", "AIR"].into_iter().collect();
/// assert_eq!(modes.get(1), Some("RAIL"));
/// assert_eq!(modes.dictionary().len(), 2);
/// let air = modes.code_of(&"AIR").unwrap();
/// assert_eq!(modes.codes().iter().filter(|&code| code == air).count(), 3);
/// ```
#[derive(Clone)]
pub struct Pooled<A> {
    /// All below the length of the dictionary: every constructor sees to that.
    codes: Codes,
    dictionary: A,
}

impl<A: Layout> Pooled<A> {
    /// Codes into a dictionary.
    ///
    /// # Errors
    /// [`ArrayError::Code`] when one points behind its end.
    pub fn new(codes: Codes, dictionary: A) -> Result<Self, ArrayError> {
        codes.check(dictionary.len())?;
        Ok(Self { codes, dictionary })
    }

    /// The codes.
    #[must_use]
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// What the codes stand for.
    #[must_use]
    pub fn dictionary(&self) -> &A {
        &self.dictionary
    }

    /// The code of a value, if the dictionary has it. It looks through the dictionary, once for as many slots as you like.
    #[must_use]
    pub fn code_of(&self, item: &A::Item<'_>) -> Option<usize> {
        self.dictionary.iter().position(|value| A::order(&value, item).is_eq())
    }
}

impl<A: Layout> Layout for Pooled<A> {
    type Item<'a> = A::Item<'a>;

    const TAG: u64 = tag_over("pooled", A::TAG);

    fn len(&self) -> usize {
        self.codes.len()
    }

    fn get(&self, index: usize) -> Option<A::Item<'_>> {
        self.dictionary.get(self.codes.get(index)?)
    }

    fn slice(&self, range: Range<usize>) -> Self {
        Self { codes: self.codes.slice(range), dictionary: self.dictionary.clone() }
    }

    fn order(a: &A::Item<'_>, b: &A::Item<'_>) -> Ordering {
        A::order(a, b)
    }

    fn hash_item(item: &A::Item<'_>, state: &mut impl Hasher) {
        A::hash_item(item, state);
    }

    fn take_apart(&self, parts: &mut Parts<'_>) {
        let node = Node::new(Kind::Pooled(self.codes.width()), self.codes.len());
        parts.node(Node { children: 1, ..node });
        parts.section(self.codes.buffer().clone());
        self.dictionary.take_apart(parts);
    }

    fn assemble(from: &mut Assembly<'_, '_>) -> Result<Self, ArrayError> {
        let kind = from.peek()?.kind;
        let Kind::Pooled(width) = kind else {
            return Err(ArrayError::Kind { expected: Kind::Pooled(1).into(), found: kind.into() });
        };
        let (_, slots) = from.expect(kind, 1)?;
        let codes = Codes::assemble(width, slots, from.section()?)?;
        let dictionary = from.child(A::assemble)?;
        if from.is_checked() && !mutant!("codes_unchecked") {
            codes.check(dictionary.len())?;
        }
        Ok(Self { codes, dictionary })
    }

    fn visit(&self, visit: &mut dyn FnMut(&Buffer)) {
        visit(self.codes.buffer());
        self.dictionary.visit(visit);
    }

    fn replace(&mut self, replace: &mut Replacing<'_>) -> Result<()> {
        each!(&mut self.codes, values => values.replace(replace))?;
        self.dictionary.replace(replace)
    }
}

impl<A: Layout> PartialEq for Pooled<A> {
    /// What slots show counts, and not which codes they have.
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b)| A::order(&a, &b).is_eq();
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

impl<A: Layout> fmt::Debug for Pooled<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

impl<'a, A: Buildable> FromIterator<A::Item<'a>> for Pooled<A> {
    /// # Panics
    /// When offsets of 32 bits cannot count the dictionary.
    fn from_iter<I: IntoIterator<Item = A::Item<'a>>>(items: I) -> Self {
        let mut builder = PooledBuilder::default();
        for item in items {
            builder.push(item).expect("its offsets can count it");
        }
        builder.finish()
    }
}

impl<A: Buildable> Buildable for Pooled<A> {
    type Builder = PooledBuilder<A>;
}

impl<A: Rearrange> Rearrange for Pooled<A> {
    /// The dictionary is shared.
    fn take(&self, slots: &[usize], meter: &mut dyn Meter) -> Result<Self> {
        let codes = match &self.codes {
            Codes::U8(values) => Codes::U8(values.take(slots, meter)?),
            Codes::U16(values) => Codes::U16(values.take(slots, meter)?),
            Codes::U32(values) => Codes::U32(values.take(slots, meter)?),
            Codes::U64(values) => Codes::U64(values.take(slots, meter)?),
        };
        Ok(Self { codes, dictionary: self.dictionary.clone() })
    }

    /// One dictionary of what slots show: each value once, however many dictionaries have it.
    fn concat(arrays: &[&Self], meter: &mut dyn Meter) -> Result<Self> {
        let mut working = Working::new(meter);
        let dictionaries: Vec<&A> = arrays.iter().map(|array| &array.dictionary).collect();
        let all = A::concat(&dictionaries, &mut working)?;
        let mut merging = Merging::new(&all, &mut working)?;
        let mut codes = GrowingCodes::U8(Growing::default());
        let mut start = 0;
        for array in arrays {
            for (index, code) in array.codes.iter().enumerate() {
                let size = array.dictionary.len();
                if code >= size {
                    return Err(behind(index, code, size).of::<Self>());
                }
                let code = merging.code(start + code, &mut working)?;
                codes.push(code, working.outer())?;
            }
            start += array.dictionary.len();
        }
        let dictionary = all.take(merging.chosen(), working.outer())?;
        Ok(Self { codes: codes.finish(), dictionary })
    }
}

/// Makes a [`Pooled`] array in one pass, by hashing.
pub struct PooledBuilder<A: Buildable> {
    codes: GrowingCodes,
    dictionary: A::Builder,
    known: Known,
}

impl<A: Buildable> Default for PooledBuilder<A> {
    fn default() -> Self {
        Self {
            codes: GrowingCodes::U8(Growing::default()),
            dictionary: A::Builder::default(),
            known: Known::default(),
        }
    }
}

impl<A: Buildable> fmt::Debug for PooledBuilder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuilder")
            .field("len", &self.len())
            .field("dictionary", &self.dictionary.len())
            .finish_non_exhaustive()
    }
}

impl<A: Buildable> PooledBuilder<A> {
    /// The code of a value, which enters the dictionary if it is new.
    ///
    /// # Errors
    /// What the meter says, or [`ArrayError::TooMany`] of the dictionary.
    pub fn intern(&mut self, item: A::Item<'_>, meter: &mut dyn Meter) -> Result<usize> {
        let (hash, dictionary) = (self.known.hash::<A>(&item), &self.dictionary);
        if let Some(code) = self.known.find(hash, |code| dictionary.holds(code, &item)) {
            return Ok(code);
        }
        self.known.reserve(meter)?;
        let code = self.dictionary.len();
        self.dictionary.push_metered(item, meter)?;
        self.known.insert(hash, code);
        Ok(code)
    }

    /// Appends a slot that shows what `intern` gave the code for.
    ///
    /// # Errors
    /// What the meter says.
    ///
    /// # Panics
    /// When the dictionary has no such code.
    pub fn push_code(&mut self, code: usize, meter: &mut dyn Meter) -> Result<()> {
        assert!(code < self.dictionary.len(), "code {code} of {}", self.dictionary.len());
        self.codes.push(code, meter)
    }

    /// Appends all slots of `array`. A value is looked up once, however many slots show it; those that none shows are left out.
    ///
    /// # Errors
    /// As [`intern`](Self::intern).
    pub fn extend_metered(&mut self, array: &Pooled<A>, meter: &mut dyn Meter) -> Result<()> {
        let len = self.len();
        let extended = self.recode(array, meter);
        if extended.is_err() {
            self.truncate(len);
        }
        extended
    }

    fn recode(&mut self, array: &Pooled<A>, meter: &mut dyn Meter) -> Result<()> {
        let mut working = Working::new(meter);
        // The new code of each value, once a slot has shown it.
        let mut codes = Growing::default();
        codes.reserve_exact(array.dictionary.len(), &mut working)?;
        codes.0.resize(array.dictionary.len(), None);
        for (index, code) in array.codes.iter().enumerate() {
            let (known, item) = (codes.0.get_mut(code), array.dictionary.get(code));
            let Some((known, item)) = known.zip(item) else {
                return Err(behind(index, code, array.dictionary.len()).of::<Pooled<A>>());
            };
            let new = match *known {
                Some(new) => new,
                None => self.intern(item, working.outer())?,
            };
            *known = Some(new);
            self.codes.push(new, working.outer())?;
        }
        Ok(())
    }
}

impl<A: Buildable> Builder for PooledBuilder<A> {
    type Array = Pooled<A>;

    fn len(&self) -> usize {
        self.codes.len()
    }

    fn push_metered(&mut self, item: A::Item<'_>, meter: &mut dyn Meter) -> Result<()> {
        let code = self.intern(item, meter)?;
        self.codes.push(code, meter)
    }

    /// Its code is that of the first value; a dictionary that has none gets one that nobody looks at.
    fn push_hidden(&mut self, meter: &mut dyn Meter) -> Result<()> {
        if self.dictionary.is_empty() {
            self.dictionary.push_hidden(meter)?;
        }
        self.codes.push(0, meter)
    }

    /// The dictionary stays as it is.
    fn truncate(&mut self, len: usize) {
        match &mut self.codes {
            GrowingCodes::U8(codes) => codes.0.truncate(len),
            GrowingCodes::U16(codes) => codes.0.truncate(len),
            GrowingCodes::U32(codes) => codes.0.truncate(len),
            GrowingCodes::U64(codes) => codes.0.truncate(len),
        }
    }

    fn holds(&self, index: usize, item: &A::Item<'_>) -> bool {
        self.dictionary.holds(self.codes.get(index), item)
    }

    fn finish(self) -> Pooled<A> {
        Pooled { codes: self.codes.finish(), dictionary: self.dictionary.finish() }
    }
}

/// Codes that become wider when the dictionary outgrows them.
#[derive(Debug)]
enum GrowingCodes {
    U8(Growing<u8>),
    U16(Growing<u16>),
    U32(Growing<u32>),
    U64(Growing<u64>),
}

impl GrowingCodes {
    fn len(&self) -> usize {
        match self {
            Self::U8(codes) => codes.0.len(),
            Self::U16(codes) => codes.0.len(),
            Self::U32(codes) => codes.0.len(),
            Self::U64(codes) => codes.0.len(),
        }
    }

    fn get(&self, index: usize) -> usize {
        match self {
            Self::U8(codes) => codes.0[index].into(),
            Self::U16(codes) => codes.0[index].into(),
            Self::U32(codes) => index_of(codes.0[index]),
            Self::U64(codes) => index_of(codes.0[index]),
        }
    }

    fn finish(self) -> Codes {
        match self {
            Self::U8(codes) => Codes::U8(codes.0.into()),
            Self::U16(codes) => Codes::U16(codes.0.into()),
            Self::U32(codes) => Codes::U32(codes.0.into()),
            Self::U64(codes) => Codes::U64(codes.0.into()),
        }
    }

    fn push(&mut self, code: usize, meter: &mut dyn Meter) -> Result<()> {
        let pushed = match self {
            Self::U8(codes) => push_narrow(codes, code, meter)?,
            Self::U16(codes) => push_narrow(codes, code, meter)?,
            Self::U32(codes) => push_narrow(codes, code, meter)?,
            Self::U64(codes) => push_narrow(codes, code, meter)?,
        };
        if pushed {
            return Ok(());
        }
        *self = match self {
            Self::U8(codes) => Self::U16(widened(codes, meter)?),
            Self::U16(codes) => Self::U32(widened(codes, meter)?),
            Self::U32(codes) => Self::U64(widened(codes, meter)?),
            Self::U64(_) => unreachable!("an index fits into 64 bits"),
        };
        self.push(code, meter)
    }
}

/// Appends a code if it is narrow enough.
fn push_narrow<T: TryFrom<usize>>(
    codes: &mut Growing<T>,
    code: usize,
    meter: &mut dyn Meter,
) -> Result<bool> {
    let Ok(code) = T::try_from(code) else { return Ok(false) };
    codes.reserve(1, meter)?;
    codes.0.push(code);
    Ok(true)
}

/// The same codes in wider numbers.
fn widened<N: Copy, W: From<N>>(
    codes: &mut Growing<N>,
    meter: &mut dyn Meter,
) -> Result<Growing<W>> {
    let mut wide = Growing::default();
    wide.reserve(codes.0.len() + 1, meter)?;
    wide.0.extend(codes.0.iter().map(|&code| W::from(code)));
    let narrow = std::mem::take(&mut codes.0);
    let bytes = (narrow.capacity() * size_of::<N>()) as u64;
    drop(narrow);
    meter.give_back(bytes);
    Ok(wide)
}
