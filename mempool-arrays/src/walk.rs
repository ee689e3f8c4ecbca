//! `Elements`: the elements of an array of several dimensions, one after another.
//!
//! ```text
//! shape [2, 3]          run         run
//! strides [4, 1]   ┌───────────┬───┬───────────┐
//!                  │ 0   1   2 │   │ 4   5   6 │     two runs of three elements, each a slice
//!                  └───────────┴───┴───────────┘
//! ```
//!
//! Axes that lie behind one another without a gap are one axis: elements that lie end to end are a single run. That all
//! of them lie within the values is the array's affair.

use std::iter::FusedIterator;

/// One axis of a walk.
#[derive(Clone, Debug)]
struct Axis {
    extent: usize,
    stride: isize,
    index: usize,
}

/// Where runs start: a run is what one goes along without a turn.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// The axes around a run, the outermost first.
    outer: Vec<Axis>,
    /// The next run.
    start: usize,
    /// How many are left.
    left: usize,
    /// How many elements a run has, and how far they lie apart.
    pub(crate) len: usize,
    pub(crate) stride: isize,
}

impl Runs {
    /// Along axes of so many indexes and such strides, the last of which changes from each element to the next.
    pub(crate) fn new(start: usize, axes: impl Iterator<Item = (usize, isize)>) -> Self {
        let mut outer: Vec<Axis> = Vec::new();
        for (extent, stride) in axes {
            match outer.last_mut() {
                _ if extent == 1 => {}
                // One step of the axis before is what all steps of this one make: the two are one.
                Some(before) if before.stride == stride.wrapping_mul(extent.cast_signed()) => {
                    before.extent *= extent;
                    before.stride = stride;
                }
                _ => outer.push(Axis { extent, stride, index: 0 }),
            }
        }
        let run = outer.pop().unwrap_or(Axis { extent: 1, stride: 1, index: 0 });
        let left = outer.iter().map(|axis| axis.extent).product();
        Self { outer, start, left, len: run.extent, stride: run.stride }
    }

    /// The same walk from another start.
    pub(crate) fn starting_at(&self, start: usize) -> Self {
        Self { start, ..self.clone() }
    }

    /// The elements of a run, when they lie end to end.
    pub(crate) fn slice<'a, T>(&self, values: &'a [T], start: usize) -> Option<&'a [T]> {
        (self.stride == 1).then(|| &values[start..start + self.len])
    }
}

impl Iterator for Runs {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let start = self.start;
        for axis in self.outer.iter_mut().rev() {
            axis.index += 1;
            if axis.index < axis.extent {
                self.start = self.start.wrapping_add_signed(axis.stride);
                break;
            }
            let back = axis.stride.wrapping_mul((axis.extent - 1).cast_signed());
            self.start = self.start.wrapping_add_signed(back.wrapping_neg());
            axis.index = 0;
        }
        Some(start)
    }
}

/// The elements of an [`NdArray`](crate::NdArray), one after another.
#[derive(Clone, Debug)]
pub struct Elements<'a, T> {
    values: &'a [T],
    /// Those behind the run that is under way.
    runs: Runs,
    /// The next element, and how many are left of its run and in all.
    at: usize,
    left_of_run: usize,
    left: usize,
}

impl<'a, T> Elements<'a, T> {
    pub(crate) fn new(values: &'a [T], runs: Runs) -> Self {
        let left = runs.left * runs.len;
        Self { values, runs, at: 0, left_of_run: 0, left }
    }
}

impl<'a, T> Iterator for Elements<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.left = self.left.checked_sub(1)?;
        if self.left_of_run == 0 {
            self.at = self.runs.next()?;
            self.left_of_run = self.runs.len;
        }
        self.left_of_run -= 1;
        let element = &self.values[self.at];
        self.at = self.at.wrapping_add_signed(self.runs.stride);
        Some(element)
    }

    /// Run by run: a loop over a slice where there is one.
    fn fold<B, F: FnMut(B, &'a T) -> B>(mut self, init: B, mut with: F) -> B {
        let mut folded = init;
        while self.left_of_run > 0 {
            let Some(element) = self.next() else { return folded };
            folded = with(folded, element);
        }
        while self.left > 0 {
            let Some(mut at) = self.runs.next() else { break };
            match self.runs.slice(self.values, at) {
                Some(run) => folded = run.iter().fold(folded, &mut with),
                None => {
                    for _ in 0..self.runs.len {
                        folded = with(folded, &self.values[at]);
                        at = at.wrapping_add_signed(self.runs.stride);
                    }
                }
            }
            self.left -= self.runs.len;
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Elements<'_, T> {}
impl<T> FusedIterator for Elements<'_, T> {}
