//! The shapes of examples and of the values between layers.

use std::fmt;

use unisono_core::network::{Padding, Pair};

/// The shape of the values of one example between two layers. The values are in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A number of features.
    Features(usize),
    /// An image.
    Image { height: usize, width: usize, channels: usize },
}

impl Shape {
    /// Returns the number of values per example.
    pub(crate) const fn len(self) -> usize {
        self.n_positions() * self.n_channels()
    }

    /// Returns the number of positions of an image; 1 for features.
    pub(crate) const fn n_positions(self) -> usize {
        match self {
            Self::Features(_) => 1,
            Self::Image { height, width, .. } => height * width,
        }
    }

    /// Returns the number of values per position.
    pub(crate) const fn n_channels(self) -> usize {
        match self {
            Self::Features(n) => n,
            Self::Image { channels, .. } => channels,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Features(n) => write!(f, "{n} features"),
            Self::Image { height, width, channels } => {
                write!(f, "images of {height}x{width}x{channels}")
            }
        }
    }
}

/// The windows along the height or the width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// The size of the image.
    pub(crate) n_in: usize,
    /// The size of a window.
    pub(crate) size: usize,
    /// The distance between neighbouring windows.
    pub(crate) stride: usize,
    /// The number of windows.
    pub(crate) n_out: usize,
    /// The size of the padding before the image. Window w begins at w·stride - before.
    pub(crate) before: usize,
}

impl Axis {
    /// Returns the windows; `None` if no whole window is inside the image.
    ///
    /// With [`Padding::Same`] there is a window for every stride-th element, and the padding after
    /// the image is equal to that before it, or longer by one (TensorFlow's
    /// `common_shape_fns.cc`).
    pub(crate) fn new(n_in: usize, size: usize, stride: usize, padding: Padding) -> Option<Self> {
        let (n_out, before) = match padding {
            Padding::Same => {
                let n_out = n_in.div_ceil(stride);
                (n_out, ((n_out - 1) * stride + size).saturating_sub(n_in) / 2)
            }
            Padding::Valid => (n_in.checked_sub(size)? / stride + 1, 0),
        };
        Some(Self { n_in, size, stride, n_out, before })
    }

    /// Returns the elements of window `w` that are inside the image.
    pub(crate) fn inside(&self, w: usize) -> std::ops::Range<usize> {
        let start = w * self.stride;
        let end = (start + self.size).saturating_sub(self.before).min(self.n_in);
        start.saturating_sub(self.before).min(end)..end
    }

    /// Returns the size of an image that contains every window, with its padding.
    pub(crate) const fn padded(&self) -> usize {
        let last = (self.n_out - 1) * self.stride + self.size;
        if last > self.n_in + self.before { last } else { self.n_in + self.before }
    }
}

/// The windows of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) vertical: Axis,
    pub(crate) horizontal: Axis,
}

impl Windows {
    /// Returns the windows; `None` if no whole window is inside the image.
    pub(crate) fn new(
        (height, width): (usize, usize),
        size: Pair,
        stride: Pair,
        padding: Padding,
    ) -> Option<Self> {
        Some(Self {
            vertical: Axis::new(height, size.height, stride.height, padding)?,
            horizontal: Axis::new(width, size.width, stride.width, padding)?,
        })
    }

    /// Returns the number of windows.
    pub(crate) const fn len(&self) -> usize {
        self.vertical.n_out * self.horizontal.n_out
    }

    /// Returns the positions of each window that are inside the image. Windows and positions are in
    /// row-major order.
    pub(crate) fn positions(&self) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        let Self { vertical, horizontal } = *self;
        (0..self.len()).map(move |window| {
            let rows = vertical.inside(window / horizontal.n_out);
            let columns = horizontal.inside(window % horizontal.n_out);
            let in_row = move |y: usize| columns.clone().map(move |x| y * horizontal.n_in + x);
            rows.flat_map(in_row)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(n_in: usize, size: usize, stride: usize, padding: Padding) -> (usize, usize, usize) {
        let axis = Axis::new(n_in, size, stride, padding).unwrap();
        (axis.n_out, axis.before, axis.padded())
    }

    /// The numbers are those of TensorFlow's documentation of `tf.nn.convolution` and of its
    /// formulas for padding.
    #[test]
    fn windows_have_tensorflows_positions() {
        assert_eq!(axis(28, 5, 1, Padding::Same), (28, 2, 32));
        assert_eq!(axis(28, 5, 1, Padding::Valid), (24, 0, 28));
        assert_eq!(axis(13, 6, 5, Padding::Same), (3, 1, 16));
        assert_eq!(axis(13, 6, 5, Padding::Valid), (2, 0, 13));
        assert_eq!(axis(7, 2, 2, Padding::Same), (4, 0, 8));
        // A window that is smaller than its stride leaves elements out.
        assert_eq!(axis(5, 1, 3, Padding::Same), (2, 0, 5));
        assert_eq!(Axis::new(4, 5, 1, Padding::Valid), None);
    }

    #[test]
    fn window_at_a_border_has_only_positions_inside_the_image() {
        let three = Pair { height: 3, width: 3 };
        let two = Pair { height: 2, width: 2 };
        let windows = Windows::new((3, 4), three, two, Padding::Same).unwrap();
        let all: Vec<Vec<_>> = windows.positions().map(Iterator::collect).collect();
        assert_eq!(
            all,
            [vec![0, 1, 2, 4, 5, 6], vec![2, 3, 6, 7], vec![4, 5, 6, 8, 9, 10], vec![6, 7, 10, 11]]
        );
    }
}
