//! Lines of memory, either made here or lying in a file that is mapped.
//!
//! Mapping is the one unsafe call. A file that another program changes in place while it is mapped changes under the
//! reader; all writers here replace files by renaming, and then the reader keeps the old one.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use crate::vectors::Line;

/// Bytes of a line.
pub(crate) const BYTES: usize = size_of::<Line>();

/// A run of lines.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    Owned(Vec<Line>),
    /// Bytes of a mapped file, from and to multiples of a line.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Block {
    #[inline(always)]
    pub(crate) fn lines(&self) -> &[Line] {
        match self {
            Self::Owned(lines) => lines,
            Self::Mapped(map, range) => bytemuck::try_cast_slice(&map[range.clone()]).unwrap_or(&[]),
        }
    }

    #[inline(always)]
    pub(crate) fn words(&self) -> &[u32] {
        bytemuck::cast_slice(self.lines())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.lines())
    }

    /// Words, filled with zeros to whole lines.
    pub(crate) fn from_words(words: &[u32]) -> Self {
        let mut lines = vec![Line::default(); words.len().div_ceil(words_per_line())];
        bytemuck::cast_slice_mut::<Line, u32>(&mut lines)[..words.len()].copy_from_slice(words);
        Self::Owned(lines)
    }

    /// A copy of bytes, which must be whole lines.
    pub(crate) fn copied(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(BYTES) {
            return None;
        }
        let mut lines = vec![Line::default(); bytes.len() / BYTES];
        bytemuck::cast_slice_mut::<Line, u8>(&mut lines).copy_from_slice(bytes);
        Some(Self::Owned(lines))
    }

    /// Bytes of a mapped file. `None` if they are not whole lines that begin where lines do.
    pub(crate) fn mapped(map: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        let bytes = map.get(range.clone())?;
        bytemuck::try_cast_slice::<u8, Line>(bytes).is_ok().then(|| Self::Mapped(map.clone(), range))
    }
}

const fn words_per_line() -> usize {
    BYTES / size_of::<u32>()
}

/// Maps a file for reading, with its pages brought in at once where the system can.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is only read. That nobody changes the file in place is what the head of this module asks for.
    #[allow(unsafe_code)]
    unsafe {
        MmapOptions::new().populate().map(file)
    }
}
