//! Shared memory on Linux: anonymous files (`memfd_create(2)`) that are opened through `/proc` and
//! mapped.

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

/// The seals of every buffer. The seals fix the length of the buffer and forbid new writable
/// mappings. Therefore, only the owner can write, through a mapping that was made before the seals.
const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Memory that this process writes and other processes can read.
#[derive(Debug)]
pub struct Buffer {
    mapping: MmapRaw,
    file: File,
    token: [u8; 16],
    /// A value that is dropped together with the buffer. [`Buffer::life`] returns weak references
    /// to it.
    life: Arc<()>,
}

/// Memory that another process writes and this process reads.
#[derive(Debug)]
pub struct View(MmapRaw);

impl Buffer {
    /// Makes a buffer of zeros, aligned to a page.
    ///
    /// # Errors
    /// If the system does not have enough memory, or cannot seal the file.
    pub fn new(n_bytes: usize, token: [u8; 16]) -> io::Result<Self> {
        let file = File::from(anonymous(&name(token))?);
        file.set_len(n_bytes as u64)?;
        // This reserves all pages. Otherwise a later write to a page that the system cannot provide
        // would kill the process with SIGBUS. A signal can interrupt the reservation with EINTR.
        retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), 0, n_bytes as u64))?;
        // The mapping is made before the seal, because the seal forbids later writable mappings.
        let mapping = MmapOptions::new().len(n_bytes).map_raw(&file)?;
        retry_on_intr(|| fcntl_add_seals(&file, SEALS))?;
        Ok(Self { mapping, file, token, life: Arc::new(()) })
    }

    /// Returns the offer with which another process can open the buffer.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let file = self.file.as_raw_fd().unsigned_abs();
        Offer { process: std::process::id(), file, token: self.token }
    }

    /// Returns a weak reference that can be upgraded as long as the buffer exists.
    #[must_use]
    pub fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has this length, exists as long as `self`, and has a page behind
        // every address. This process writes the mapping only through `deref_mut`, which borrows
        // `self` exclusively. The seals prevent all other processes from writing or shortening the
        // file.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr(), self.mapping.len()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the reasons in `deref` hold. In addition, `self` is borrowed exclusively, so this
        // process has no other reference into the mapping. Other processes only read, which does
        // not affect this process.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.as_mut_ptr(), self.mapping.len()) }
    }
}

impl View {
    /// Opens a buffer of at most `max_bytes` that a process of the same user has offered.
    ///
    /// # Errors
    /// If the buffer does not exist or is too long, or if the file was not made by [`Buffer`].
    pub fn open(offer: &Offer, max_bytes: usize) -> io::Result<Self> {
        let Offer { process, file, token } = *offer;
        let path = format!("/proc/{process}/fd/{file}");
        let other = || io::Error::other(format!("{path} is not the offered buffer"));
        // The name is checked before the file is opened, because opening some files, such as
        // devices, has side effects.
        if read_link(&path)? != Path::new(&format!("/memfd:{} (deleted)", name(token))) {
            return Err(other());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(retry_on_intr(|| open(&path, flags, Mode::empty()))?);
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).map_err(|_| other())?;
        // The seals of the open file are checked, because another process may change the target of
        // the path at any time. Without the seals, the owner could shorten the file, and reading it
        // would kill this process.
        let is_sealed = fcntl_get_seals(&file)?.contains(SEALS);
        // A privileged process can open the files of all users, so the owner must be checked here.
        let is_ours = metadata.uid() == geteuid().as_raw();
        if !is_sealed || !is_ours || len > max_bytes {
            return Err(other());
        }
        Ok(Self(MmapOptions::new().len(len).map_raw_read_only(&file)?))
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.0.len()
    }

    /// Copies bytes of the view into `bytes`, beginning at offset `at`, until `bytes` is full.
    ///
    /// # Panics
    /// If the range exceeds the end of the view.
    pub fn read(&self, at: usize, bytes: &mut [u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.0.len()), "bytes beyond the end of a view");
        // SAFETY: the range is within the mapping, whose length the seals keep, and the mapping
        // outlives this call. `bytes` is memory of this process, so it does not overlap the
        // mapping. Only an owner that breaks the rules writes during the copy, and no code of this
        // program does so. Any bytes that the copy yields are valid.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len());
        }
    }
}

/// Makes an anonymous file. On Linux 6.3 or later, the file is not executable, because a system may
/// forbid executable anonymous files (`vm.memfd_noexec`).
fn anonymous(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        // Linux before 6.3 does not know the flag NOEXEC_SEAL.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        created => Ok(created?),
    }
}

/// Returns the file name of a buffer with this token. [`View::open`] compares this name, so an
/// offer cannot make a process open a file that is not a buffer.
fn name(token: [u8; 16]) -> String {
    token.iter().fold("unisono-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}
