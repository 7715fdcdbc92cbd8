//! Writes one frame after the other, head and tensors from where they are.

use std::io::{self, IoSlice};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::wire::Frame;

/// Writes a whole frame.
pub(super) async fn write(target: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut slices: Vec<_> = frame.parts().map(IoSlice::new).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let n_written = target.write_vectored(left).await?;
        if n_written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, n_written);
    }
    Ok(())
}
