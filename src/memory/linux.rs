//! Anonymous files (`memfd_create(2)`), found through `/proc`, and mapped.

use std::fs::{File, read_link};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals,
    fcntl_get_seals, memfd_create, open,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::geteuid;

use crate::Offer;

/// The seals of every buffer: its length is what it is, and nobody but its owner, who has mapped it
/// by then, writes it.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Memory that this process writes, and others can be let read.
#[derive(Debug)]
pub struct Buffer {
    mapping: MmapRaw,
    file: File,
    token: [u8; 16],
    life: Arc<()>,
}

/// Memory that another process writes.
#[derive(Debug)]
pub struct View(MmapRaw);

impl Buffer {
    /// A buffer of zeros, which starts on a page.
    ///
    /// # Errors
    /// If the system has no memory for all of it, or cannot seal it.
    pub fn new(n_bytes: usize, token: [u8; 16]) -> io::Result<Self> {
        let file = File::from(anonymous(&name(token))?);
        file.set_len(n_bytes as u64)?;
        // To write where the system cannot give a page would end the process.
        // Anonymous memory is given page by page, and a signal in the midst of it is an error.
        retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, n_bytes as u64))?;
        let mapping = MmapOptions::new().len(n_bytes).map_raw(&file)?;
        retry_on_intr(|| fcntl_add_seals(&file, SEALS))?;
        Ok(Self { mapping, file, token, life: Arc::new(()) })
    }

    /// By which another process finds it.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let file = self.file.as_raw_fd().unsigned_abs();
        Offer { process: std::process::id(), file, token: self.token }
    }

    /// There as long as the buffer is.
    #[must_use]
    pub fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is as long as it says, lives as long as `self`, and has a page behind
        // every address. This process writes it only by `deref_mut`, which takes `self` for itself,
        // and the seals keep all others from mapping it to be written, and from shortening it.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr(), self.mapping.len()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; and nobody else in this process refers into it while `self` is
        // taken. Other processes that read it see some of the bytes before others, which is nothing
        // to this one.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_mut_ptr(), self.mapping.len()) }
    }
}

impl View {
    /// Opens what another process of the same user has offered, of `max_bytes` at most.
    ///
    /// # Errors
    /// If it is not there, or is not what [`Buffer`] makes.
    pub fn open(offer: &Offer, max_bytes: usize) -> io::Result<Self> {
        let Offer { process, file, token } = *offer;
        let path = format!("/proc/{process}/fd/{file}");
        let other = || io::Error::other(format!("{path} is not what was offered"));
        // Looked at first: to open something else could do something.
        if read_link(&path)? != Path::new(&format!("/memfd:{} (deleted)", name(token))) {
            return Err(other());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(retry_on_intr(|| open(&path, flags, Mode::empty()))?);
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).map_err(|_| other())?;
        let is_sealed = fcntl_get_seals(&file)?.contains(SEALS);
        // A privileged process can open what is another user's.
        let is_ours = metadata.uid() == geteuid().as_raw();
        if !is_sealed || !is_ours || len > max_bytes {
            return Err(other());
        }
        Ok(Self(MmapOptions::new().len(len).map_raw_read_only(&file)?))
    }

    /// The length, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.0.len()
    }

    /// Copies the bytes from `at` on.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, at: usize, bytes: &mut [u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.0.len()), "bytes beyond the end of a view");
        // SAFETY: the range is within the mapping, which the seal keeps as long as it was, and
        // outlives this call; `bytes` is this process's own, so the two do not overlap. Another
        // process may write it meanwhile if it follows no rules. That race is outside of this
        // program, whose compiler knows of no other writer: what is copied are bytes, and any are
        // valid.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len());
        }
    }
}

/// An anonymous file. Where the system says so, only one that nobody can execute is to be had.
fn anonymous(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // A system older than the flag.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        created => Ok(created?),
    }
}

/// The name of a buffer with this token. Nobody can be made to open anything else.
fn name(token: [u8; 16]) -> String {
    token.iter().fold("unisono-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}
