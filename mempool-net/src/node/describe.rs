//! What a node must know of a value to refer to it, and of all that this refers to. Whoever describes promises nothing: a
//! description is checked when the frame comes, and the claim is made with the owner.

use std::collections::HashSet;

use mempool_core::{CodecName, Error, Format, Id, Untyped};

use crate::identity::GlobalId;
use crate::node::inner::Inner;
use crate::node::wire::{Malformed, PeerId, value_of};
use crate::proto;

/// The most values of one closure.
pub(crate) const CLOSURE_MAX: usize = 16_384;
/// The longest name of a type that is sent, in bytes.
const TYPE_NAME_MAX: usize = 256;

/// A value as whoever refers to it knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) value: GlobalId,
    pub(crate) owner: PeerId,
    pub(crate) epoch: u64,
    pub(crate) format: Format,
    pub(crate) type_name: String,
    pub(crate) charged_bytes: u64,
    /// The value and the pool that the header of its frame names.
    pub(crate) written: (Id, u64),
    pub(crate) references: Vec<GlobalId>,
}

/// Values, and all that they refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// Each behind what it refers to.
    pub(crate) values: Vec<Description>,
    pub(crate) roots: Vec<GlobalId>,
}

/// Where a walk through values is.
enum Step {
    Into(Untyped),
    OutOf(Description),
}

impl Inner {
    /// Describes values and all that they refer to; reads what is on disk alone.
    ///
    /// # Errors
    /// As an export; [`Error::TooLarge`] for more than [`CLOSURE_MAX`] values.
    pub(crate) fn closure(&self, roots: &[Untyped]) -> Result<Closure, Error> {
        let mut closure = Closure::default();
        let mut seen = HashSet::new();
        closure.roots = roots.iter().map(|root| self.global(root.id())).collect();
        let mut steps: Vec<Step> = roots.iter().rev().cloned().map(Step::Into).collect();
        while let Some(step) = steps.pop() {
            match step {
                Step::OutOf(described) => closure.values.push(described),
                Step::Into(value) if !seen.insert(self.global(value.id())) => {}
                Step::Into(_) if seen.len() > CLOSURE_MAX => {
                    let (asked_bytes, limit_bytes) = (seen.len() as u64, CLOSURE_MAX as u64);
                    return Err(Error::TooLarge { asked_bytes, limit_bytes });
                }
                Step::Into(value) => {
                    let (described, references) = self.describe(&value)?;
                    steps.push(Step::OutOf(described));
                    steps.extend(references.into_iter().map(Step::Into));
                }
            }
        }
        Ok(closure)
    }

    fn describe(&self, value: &Untyped) -> Result<(Description, Vec<Untyped>), Error> {
        if let Some(described) = self.remotes.description(value.id()) {
            return Ok(((*described).clone(), value.references()));
        }
        let export = self.pool.export(value)?;
        let header = export.header();
        let references = export.references();
        let described = Description {
            value: self.global(value.id()),
            owner: self.me.clone(),
            epoch: 1,
            format: header.format,
            type_name: cut(export.type_name()),
            charged_bytes: header.resident_bytes,
            written: (header.id, header.pool),
            references: references.iter().map(|one| self.global(one.id())).collect(),
        };
        Ok((described, references))
    }
}

/// As much of a type's name as is sent.
pub(crate) fn cut(name: &str) -> String {
    let mut end = name.len().min(TYPE_NAME_MAX);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default().to_owned()
}

impl From<Closure> for proto::Closure {
    fn from(Closure { values, roots }: Closure) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self { values, roots: roots.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<proto::Closure> for Closure {
    type Error = Malformed;

    fn try_from(proto::Closure { values, roots }: proto::Closure) -> Result<Self, Malformed> {
        if values.len() > CLOSURE_MAX || roots.len() > CLOSURE_MAX {
            return Err(format!("{} values, and {CLOSURE_MAX} are the most", values.len()));
        }
        let mut known = HashSet::new();
        let mut described = Vec::with_capacity(values.len());
        for value in values {
            let value = Description::try_from(value)?;
            if let Some(missing) = value.references.iter().find(|one| !known.contains(*one)) {
                return Err(format!(
                    "{} refers to {missing}, which does not stand before",
                    value.value
                ));
            }
            known.insert(value.value);
            described.push(value);
        }
        let roots: Vec<_> =
            roots.into_iter().map(|root| value_of(Some(root))).collect::<Result<_, _>>()?;
        match roots.iter().find(|root| !known.contains(*root)) {
            None => Ok(Self { values: described, roots }),
            Some(missing) => Err(format!("{missing} is meant, and not described")),
        }
    }
}

impl From<Description> for proto::Description {
    fn from(described: Description) -> Self {
        let Format { codec, type_tag, pointer_width } = described.format;
        let (id, pool) = described.written;
        Self {
            value: Some(described.value.into()),
            owner: Some((&described.owner).into()),
            epoch: described.epoch,
            format: Some(proto::Format {
                codec: codec.to_string(),
                type_tag,
                pointer_width: pointer_width.into(),
            }),
            type_name: described.type_name,
            charged_bytes: described.charged_bytes,
            written_slot: id.slot,
            written_generation: id.generation,
            written_pool: pool,
            references: described.references.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Description> for Description {
    type Error = Malformed;

    fn try_from(message: proto::Description) -> Result<Self, Malformed> {
        if message.type_name.len() > TYPE_NAME_MAX {
            return Err(format!("a type's name of {} bytes", message.type_name.len()));
        }
        if message.written_generation == 0 {
            return Err("no value has generation 0".to_owned());
        }
        let id = Id { slot: message.written_slot, generation: message.written_generation };
        let references = message.references.into_iter().map(|one| value_of(Some(one)));
        Ok(Self {
            value: value_of(message.value)?,
            owner: message.owner.ok_or("a value without an owner")?.try_into()?,
            epoch: message.epoch,
            format: format_of(message.format.ok_or("a value without a format")?)?,
            type_name: message.type_name,
            charged_bytes: message.charged_bytes,
            written: (id, message.written_pool),
            references: references.collect::<Result<_, _>>()?,
        })
    }
}

fn format_of(message: proto::Format) -> Result<Format, Malformed> {
    let proto::Format { codec, type_tag, pointer_width } = message;
    let mut name = [0; 16];
    let fits = !codec.is_empty() && codec.bytes().all(|byte| byte.is_ascii_graphic());
    let place = name.get_mut(..codec.len()).filter(|_| fits);
    place
        .ok_or_else(|| format!("no codec has a name of {} bytes", codec.len()))?
        .copy_from_slice(codec.as_bytes());
    let pointer_width = u8::try_from(pointer_width).map_err(|_| "a pointer is not so wide")?;
    Ok(Format { codec: CodecName::from_bytes(name), type_tag, pointer_width })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Incarnation, NodeName};

    fn described(slot: u32, references: &[u32]) -> Description {
        let value = |slot| GlobalId { birth: Incarnation(5), id: Id { slot, generation: 1 } };
        Description {
            value: value(slot),
            owner: PeerId {
                name: NodeName::new("a").expect("a label"),
                incarnation: Incarnation(5),
                address: "h:1".into(),
            },
            epoch: 1,
            format: Format { codec: CodecName::new("rkyv"), type_tag: 7, pointer_width: 32 },
            type_name: "T".into(),
            charged_bytes: 9,
            written: (Id { slot, generation: 3 }, u64::MAX),
            references: references.iter().copied().map(value).collect(),
        }
    }

    #[test]
    fn a_closure_goes_there_and_back() {
        let values = vec![described(1, &[]), described(2, &[1]), described(3, &[2, 1, 2])];
        let roots = vec![values[2].value, values[0].value];
        let closure = Closure { values, roots };
        assert_eq!(Closure::try_from(proto::Closure::from(closure.clone())), Ok(closure));
    }

    #[test]
    fn a_closure_with_something_missing_is_refused() {
        let bent = |values: Vec<Description>, roots: Vec<GlobalId>| {
            Closure::try_from(proto::Closure::from(Closure { values, roots })).expect_err("bent")
        };
        bent(vec![described(2, &[1]), described(1, &[])], vec![]);
        bent(vec![described(1, &[1])], vec![]);
        bent(vec![described(1, &[])], vec![described(2, &[]).value]);
        let many = vec![described(1, &[]); CLOSURE_MAX + 1];
        assert!(bent(many, vec![]).contains("most"));
    }

    #[test]
    fn a_description_that_says_nothing_of_the_value_is_refused() {
        let good = || proto::Description::from(described(1, &[]));
        Description::try_from(good()).expect("as it was");
        let format = |codec: &str, pointer_width| {
            Some(proto::Format { codec: codec.to_owned(), type_tag: 0, pointer_width })
        };
        for bad in [
            proto::Description { value: None, ..good() },
            proto::Description { owner: None, ..good() },
            proto::Description { format: None, ..good() },
            proto::Description { format: format("", 0), ..good() },
            proto::Description { format: format("seventeen letters", 0), ..good() },
            proto::Description { format: format("seventeenletters1", 0), ..good() },
            proto::Description { format: format("x", 256), ..good() },
            proto::Description { written_generation: 0, ..good() },
            proto::Description { type_name: "x".repeat(257), ..good() },
        ] {
            assert!(Description::try_from(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_long_name_of_a_type_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        let long = "x".repeat(TYPE_NAME_MAX - 1) + "ää";
        assert_eq!(cut(&long).len(), TYPE_NAME_MAX - 1);
    }
}
