//! Anonymous files (`memfd_create(2)`), found through `/proc`, and mapped.

use std::fs::{File, read_link};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, fallocate, fcntl_add_seals,
    fcntl_get_seals, memfd_create, open,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::{Offer, OutOfRange, START, check};

/// The seals of all memory: its length is what it is.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Memory that this process writes.
#[derive(Debug)]
pub struct Memory {
    mapping: Arc<MmapRaw>,
    file: File,
    token: [u8; 16],
    /// Up to where the system has given pages. To write where it cannot give any would end the
    /// process.
    reserved: usize,
}

/// The counter of memory that this process writes.
#[derive(Debug)]
pub struct Counter(Arc<MmapRaw>);

/// Memory that another process writes.
#[derive(Debug)]
pub struct View(MmapRaw);

impl Memory {
    /// Makes memory for `n_bytes` bytes from [`START`] on. It takes only as much as is reserved.
    ///
    /// # Errors
    /// If the system has none.
    pub fn new(n_bytes: usize, token: [u8; 16]) -> io::Result<(Self, Counter)> {
        let file = File::from(anonymous(&name(token))?);
        let len = START.checked_add(n_bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        file.set_len(len as u64)?;
        fcntl_add_seals(&file, SEALS)?;
        fallocate(&file, FallocateFlags::empty(), 0, START as u64)?;
        let mapping = Arc::new(MmapOptions::new().len(len).map_raw(&file)?);
        let memory = Self { mapping: Arc::clone(&mapping), file, token, reserved: START };
        Ok((memory, Counter(mapping)))
    }

    /// Makes sure that the system has pages for all up to `end`.
    ///
    /// # Errors
    /// If it has not, or the memory is not so long.
    pub fn reserve(&mut self, end: usize) -> io::Result<()> {
        if end > self.reserved {
            // Fails beyond the end, as the seals let nothing grow.
            let (from, n_bytes) = (self.reserved as u64, (end - self.reserved) as u64);
            fallocate(&self.file, FallocateFlags::empty(), from, n_bytes)?;
            self.reserved = end;
        }
        Ok(())
    }

    /// By which the other process finds it.
    #[must_use]
    pub fn offer(&self) -> Offer {
        let file = self.file.as_raw_fd().unsigned_abs();
        Offer { process: std::process::id(), file, token: self.token }
    }

    /// Writes bytes, past the caches: the next one to read them is another core.
    ///
    /// # Errors
    /// If there is no room reserved for them.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), OutOfRange> {
        check(at, bytes.len(), self.reserved)?;
        // SAFETY: the range is within what was reserved of the mapping, which is writable and outlives this call; no
        // reference into it exists, and of this process only this method writes behind the counter,
        // by `&mut self`.
        unsafe { copy_past_caches(bytes, self.mapping.as_mut_ptr().add(at)) };
        Ok(())
    }
}

impl Counter {
    /// Sets it. Who sees the new value sees all that was written before.
    pub fn set(&self, count: u32) {
        let at = self.0.as_mut_ptr().cast();
        // SAFETY: a mapping begins on a page, has at least `START` bytes, is writable, and lives
        // longer than the reference; this process uses its first word as nothing but this atomic.
        unsafe { AtomicU32::from_ptr(at) }.store(count, Ordering::Release);
    }
}

impl View {
    /// Opens what another process of the same user has offered, of `max_bytes` at most.
    ///
    /// # Errors
    /// If it is not there, or is not what [`Memory`] makes.
    pub fn open(offer: &Offer, max_bytes: usize) -> io::Result<Self> {
        let Offer { process, file, token } = *offer;
        let path = format!("/proc/{process}/fd/{file}");
        let other = || io::Error::other(format!("{path} is not what was offered"));
        // Looked at first: to open something else could do something.
        if read_link(&path)? != Path::new(&format!("/memfd:{} (deleted)", name(token))) {
            return Err(other());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(open(&path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).map_err(|_| other())?;
        let is_sealed = fcntl_get_seals(&file)?.contains(SEALS);
        // A privileged process can open what is another user's.
        let is_ours = metadata.uid() == geteuid().as_raw();
        if !is_sealed || !is_ours || len < START || len - START > max_bytes {
            return Err(other());
        }
        Ok(Self(MmapOptions::new().len(len).map_raw_read_only(&file)?))
    }

    /// The counter's value.
    #[must_use]
    pub fn count(&self) -> u32 {
        let at = self.0.as_ptr().cast::<u32>();
        // SAFETY: a mapping begins on a page and has at least `START` bytes. That another process
        // writes them is what a volatile read is for; an atomic would have to be writable here.
        let count = unsafe { at.read_volatile() };
        fence(Ordering::Acquire);
        count
    }

    /// Copies bytes out of the memory.
    ///
    /// # Errors
    /// If there are none.
    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), OutOfRange> {
        check(at, bytes.len(), self.0.len())?;
        // SAFETY: the range is within the mapping, which the seal keeps as long as it was, and
        // outlives this call; `bytes` is this process's own, so the two do not overlap. Another
        // process may write it meanwhile if it follows no rules. That race is outside of this
        // program, whose compiler knows of no other writer: what is copied are bytes, and any are
        // valid.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
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

/// The name of memory with this token. Nobody can be made to open anything else.
fn name(token: [u8; 16]) -> String {
    token.iter().fold("unisono-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// Copies without taking the destination's lines from the cache of the core that read them last.
///
/// # Safety
/// `to` is writable for the length of `from`, which it does not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_past_caches(from: &[u8], to: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    const WORD: usize = size_of::<__m128i>();
    let n_unaligned = to.align_offset(WORD).min(from.len());
    let (before, rest) = from.split_at(n_unaligned);
    let words = rest.chunks_exact(WORD);
    let after = words.remainder();
    // SAFETY: all of it is within `from` and `to`; `to` is aligned behind `before`, and SSE2 is part
    // of x86-64. The fence makes these stores ones like any other for all that follows.
    unsafe {
        std::ptr::copy_nonoverlapping(before.as_ptr(), to, before.len());
        let mut at = to.add(before.len());
        for word in words {
            _mm_stream_si128(at.cast(), _mm_loadu_si128(word.as_ptr().cast()));
            at = at.add(WORD);
        }
        std::ptr::copy_nonoverlapping(after.as_ptr(), at, after.len());
        _mm_sfence();
    }
}

/// Copies.
///
/// # Safety
/// `to` is writable for the length of `from`, which it does not overlap.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_past_caches(from: &[u8], to: *mut u8) {
    // SAFETY: as this function asks.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
}
