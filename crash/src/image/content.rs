//! The bytes of one file.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// How many bytes are shared at a time.
pub const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;
/// How many pages are shared at a time where all of them are the same in two images.
const CHUNK_PAGES: usize = 64;
const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

/// A sparse file. A page of zeros takes no memory.
#[derive(Debug, Clone, Default)]
pub struct Content {
    len: u64,
    chunks: Vec<Option<Arc<Chunk>>>,
    pages: usize,
    /// The sum of the hashes of all pages.
    sum: u128,
}

#[derive(Debug, Clone)]
struct Chunk([Option<Arc<Page>>; CHUNK_PAGES]);

impl Default for Chunk {
    fn default() -> Self {
        Self([const { None }; CHUNK_PAGES])
    }
}

struct Page {
    /// Over the bytes and the place of the page.
    hash: u128,
    bytes: [u8; PAGE_BYTES],
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({:x})", self.hash)
    }
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes are in pages that are not all zeros.
    pub fn allocated_bytes(&self) -> u64 {
        self.pages as u64 * PAGE
    }

    /// Tells contents apart.
    pub fn digest(&self) -> u128 {
        let mut key = [0; 24];
        let (len, sum) = key.split_at_mut(8);
        len.copy_from_slice(&self.len.to_le_bytes());
        sum.copy_from_slice(&self.sum.to_le_bytes());
        xxh3_128(&key)
    }

    /// Copies bytes out, and answers how many there were before the end of the file.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = out.len().min(left);
        for piece in pieces(offset, count) {
            let Some(out) = out.get_mut(piece.at..piece.at + piece.len) else { break };
            let page = self.page(piece.page).map_or(&ZEROS, |page| &page.bytes);
            if let Some(bytes) = page.get(piece.skip..piece.skip + piece.len) {
                out.copy_from_slice(bytes);
            }
        }
        count
    }

    /// Writes bytes; the file grows where they reach beyond its end.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.len = self.len.max(offset + data.len() as u64);
        for piece in pieces(offset, data.len()) {
            let Some(data) = data.get(piece.at..piece.at + piece.len) else { break };
            self.edit(piece.page, |bytes| {
                if let Some(bytes) = bytes.get_mut(piece.skip..piece.skip + piece.len) {
                    bytes.copy_from_slice(data);
                }
            });
        }
    }

    /// Cuts the file, or lets it grow by zeros.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (kept, rest) = (len / PAGE, usize::try_from(len % PAGE).unwrap_or(0));
            if rest > 0 && self.page(kept).is_some() {
                self.edit(kept, |bytes| bytes.iter_mut().skip(rest).for_each(|byte| *byte = 0));
            }
            self.drop_pages(len.div_ceil(PAGE));
        }
        self.len = len;
    }

    /// How many of these bytes can be written where so many bytes can still be allocated, in pages.
    pub(crate) fn fits(&self, offset: u64, len: usize, room_bytes: u64) -> usize {
        let mut room = room_bytes / PAGE;
        let mut fits = 0;
        for piece in pieces(offset, len) {
            if self.page(piece.page).is_none() {
                if room == 0 {
                    break;
                }
                room -= 1;
            }
            fits = piece.at + piece.len;
        }
        fits
    }

    /// Runs of neighbouring pages that are not all zeros: where each begins, and its bytes up to
    /// the end of the file.
    pub fn runs(&self) -> Vec<(u64, Vec<u8>)> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (index, page) in self.present() {
            let start = index * PAGE;
            let take = usize::try_from(self.len - start).map_or(PAGE_BYTES, |n| n.min(PAGE_BYTES));
            let bytes = page.bytes.get(..take).unwrap_or_default();
            match runs.last_mut() {
                Some((at, run)) if *at + run.len() as u64 == start => run.extend_from_slice(bytes),
                _ => runs.push((start, bytes.to_vec())),
            }
        }
        runs
    }

    fn present(&self) -> impl Iterator<Item = (u64, &Page)> {
        (0..).step_by(CHUNK_PAGES).zip(&self.chunks).flat_map(|(first, chunk)| {
            let pages = chunk.iter().flat_map(|chunk| &chunk.0);
            (first..).zip(pages).filter_map(|(index, page)| Some((index, &**page.as_ref()?)))
        })
    }

    fn page(&self, index: u64) -> Option<&Arc<Page>> {
        let (chunk, slot) = place(index);
        self.chunks.get(chunk)?.as_ref()?.0.get(slot)?.as_ref()
    }

    fn edit(&mut self, index: u64, change: impl FnOnce(&mut [u8; PAGE_BYTES])) {
        let (chunk, slot) = place(index);
        if self.chunks.len() <= chunk {
            self.chunks.resize(chunk + 1, None);
        }
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        let chunk = Arc::make_mut(chunk.get_or_insert_default());
        let Some(slot) = chunk.0.get_mut(slot) else { return };
        let mut bytes = slot.as_ref().map_or(ZEROS, |page| page.bytes);
        change(&mut bytes);
        let old = slot.take();
        if bytes != ZEROS {
            let hash = xxh3_128_with_seed(&bytes, index);
            *slot = Some(Arc::new(Page { hash, bytes }));
            self.pages += 1;
            self.sum = self.sum.wrapping_add(hash);
        }
        if let Some(old) = old {
            self.pages -= 1;
            self.sum = self.sum.wrapping_sub(old.hash);
        }
    }

    /// Drops all pages from this one on.
    fn drop_pages(&mut self, first: u64) {
        let gone: Vec<(u64, u128)> = self
            .present()
            .filter(|&(index, _)| index >= first)
            .map(|(index, page)| (index, page.hash))
            .collect();
        for &(index, hash) in &gone {
            let (chunk, slot) = place(index);
            if let Some(Some(chunk)) = self.chunks.get_mut(chunk)
                && let Some(slot) = Arc::make_mut(chunk).0.get_mut(slot)
            {
                *slot = None;
                self.sum = self.sum.wrapping_sub(hash);
            }
        }
        self.pages -= gone.len();
        let chunks = usize::try_from(first).map_or(usize::MAX, |n| n.div_ceil(CHUNK_PAGES));
        self.chunks.truncate(chunks);
    }
}

/// The chunk and the slot in it that hold a page.
fn place(index: u64) -> (usize, usize) {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    (index / CHUNK_PAGES, index % CHUNK_PAGES)
}

/// A part of a range that lies in one page.
struct Piece {
    page: u64,
    /// Where in the page it begins.
    skip: usize,
    /// Where in the range it begins.
    at: usize,
    len: usize,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let start = offset + at as u64;
        let skip = usize::try_from(start % PAGE).unwrap_or(0);
        let piece = Piece { page: start / PAGE, skip, at, len: (PAGE_BYTES - skip).min(len - at) };
        at += piece.len;
        Some(piece)
    })
}
