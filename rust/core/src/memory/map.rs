//! Memory shared by mapping a file, seen as atomic words. The only memory reached by `unsafe`.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::AtomicU64,
};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

use crate::error::{Error, Result};

/// A mapping of whole words, of a file or of private memory.
#[derive(Debug)]
pub struct Map {
    memory: MmapRaw,
    file: Option<File>,
}

impl Map {
    /// Map zeroed memory of this process alone.
    pub fn private(words: usize) -> Result<Self> {
        let memory = MmapOptions::new()
            .len(words * 8)
            .map_anon()
            .map_err(Error::io("map private memory"))?;
        Ok(Self { memory: MmapRaw::from(memory), file: None })
    }

    /// Create a file of this many words; fails if it exists. It is sparse: [`Self::ensure`] what is
    /// to be touched.
    pub fn create(path: &Path, words: usize) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io(format_args!("create {}", path.display())))?;
        file.set_len(words as u64 * 8)
            .map_err(Error::io(format_args!("size {}", path.display())))?;
        Self::of(file, path)
    }

    /// Map an existing file, whole.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(Error::io(format_args!("open {}", path.display())))?;
        let len =
            file.metadata().map_err(Error::io(format_args!("stat {}", path.display())))?.len();
        if len < 4_096 {
            return Err(Error::Foreign(format!(
                "{} is too short to be one of our files",
                path.display()
            )));
        }
        Self::of(file, path)
    }

    fn of(file: File, path: &Path) -> Result<Self> {
        let memory = MmapOptions::new()
            .map_raw(&file)
            .map_err(Error::io(format_args!("map {}", path.display())))?;
        Ok(Self { memory, file: Some(file) })
    }

    /// Allocate room on the file system for these words, so that touching them can never raise
    /// SIGBUS.
    pub fn ensure(&self, first: usize, words: usize) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        fallocate(file, FallocateFlags::empty(), first as u64 * 8, words as u64 * 8)
            .map_err(|error| Error::Io("allocate room for shared memory".to_owned(), error.into()))
    }

    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // A page is aligned for any integer.
        #[allow(clippy::cast_ptr_alignment)]
        let first = self.memory.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is page-aligned, lives as long as `self`, is `len` bytes long, and
        // holds plain integers, valid in any pattern. Everybody who maps the file, in this process
        // or another, only uses atomic accesses through this function.
        unsafe { std::slice::from_raw_parts(first, self.memory.len() / 8) }
    }
}
