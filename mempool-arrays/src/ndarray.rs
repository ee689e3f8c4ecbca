//! [`NdArray`] to and from the arrays of the crate ndarray, version 0.17. Nothing is copied either way. It owns no layout.

use ::ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Axis, Dimension, IxDyn, ShapeBuilder};
use ::ndarray::{Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6};

use crate::element::Element;
use crate::error::ArrayError;
use crate::nd::{DIMENSIONS_MAX, NdArray};
use crate::values::Values;

impl<T: Element> NdArray<T> {
    /// The same elements as a view of the crate ndarray's, of whatever extents and strides they are: of a mapped array, a
    /// view into the map. `to_owned` copies them into an array of its own; `into_dimensionality` says at compile time how
    /// many dimensions there are.
    ///
    /// ```
    /// use mempool_arrays::{NdArray, Raw};
    /// use mempool_core::PoolOptions;
    /// use ndarray::{Ix2, array};
    ///
    /// let pool = PoolOptions::new().memory_limit(1 << 20).open(Raw);
    /// let matrix = pool.set(NdArray::from(array![[1.0, 2.0], [3.0, 4.0]]))?;
    /// let matrix = pool.get(&matrix)?;
    /// let view = matrix.view().into_dimensionality::<Ix2>().unwrap();
    /// assert_eq!(view.dot(&array![1.0, 10.0]), array![21.0, 43.0]);
    /// # Ok::<(), mempool_core::Error>(())
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "strides were checked when the array was made")]
    pub fn view(&self) -> ArrayViewD<'_, T> {
        let steps: Vec<usize> = self.strides().iter().map(|stride| stride.unsigned_abs()).collect();
        let shape = IxDyn(self.shape()).strides(IxDyn(&steps));
        let view = ArrayView::from_shape(shape, self.values());
        let mut view = view.expect("strides that lead to the values and no further");
        // Strides are asked for without their signs, which is to go along the axis from its other end.
        for (axis, _) in self.strides().iter().enumerate().filter(|&(_, &stride)| stride < 0) {
            view.invert_axis(Axis(axis));
        }
        view
    }
}

/// Takes the vector over, and the strides as they are.
fn adopted<T: Element, D: Dimension>(array: Array<T, D>) -> NdArray<T> {
    let (shape, strides) = (array.shape().to_vec(), array.strides().to_vec());
    let (vector, first) = array.into_raw_vec_and_offset();
    // An array without elements has no first one.
    NdArray::cut(&Values::from(vector), first.unwrap_or_default(), shape, strides)
}

macro_rules! from_arrays {
    ($($dimensions:ty),*) => {
        $(
            impl<T: Element> From<Array<T, $dimensions>> for NdArray<T> {
                /// Takes the vector over, and the strides as they are: nothing is copied.
                fn from(array: Array<T, $dimensions>) -> Self {
                    adopted(array)
                }
            }
        )*
    };
}

from_arrays!(Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6);

impl<T: Element> TryFrom<ArrayD<T>> for NdArray<T> {
    type Error = ArrayError;

    /// Takes the vector over, and the strides as they are: nothing is copied.
    ///
    /// # Errors
    /// [`ArrayError::Dimensions`] for more than [`DIMENSIONS_MAX`].
    fn try_from(array: ArrayD<T>) -> Result<Self, ArrayError> {
        match array.ndim() {
            ndim if ndim > DIMENSIONS_MAX => {
                let (found, most) = (ndim as u64, DIMENSIONS_MAX as u64);
                Err(ArrayError::Dimensions { found, most })
            }
            _ => Ok(adopted(array)),
        }
    }
}
