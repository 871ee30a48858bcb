//! Splitting values that an engine had better not hold in one piece.
//!
//! Some engines are wasteful or unsafe with large values, so each picks a piece size and cuts
//! values with [`split`] and [`join`]. A piece that is exactly `size` bytes long says that another
//! follows; a shorter one, which may be empty, ends the value. So a value below the piece size
//! costs nothing, and a value tells its own length: pieces left over from a longer value that was
//! overwritten in place are never read, and go when their key is removed.

use std::borrow::Cow;

use crate::{Error, Result};

/// The pieces of `value`, numbered from 0, each of at most `size` bytes.
///
/// # Panics
///
/// When `size` is 0.
///
/// # Examples
///
/// ```
/// use kvlogdb_engine_api::chunk;
///
/// let pieces: Vec<_> = chunk::split(b"abcdef", 3).collect();
/// assert_eq!(pieces, [(0, &b"abc"[..]), (1, b"def"), (2, b"")]);
/// let joined =
///     chunk::join(b"abc", 3, |chunk| Ok(pieces.get(chunk as usize).map(|piece| piece.1)));
/// assert_eq!(joined.unwrap().as_ref(), b"abcdef");
/// ```
pub fn split(value: &[u8], size: usize) -> impl Iterator<Item = (u32, &[u8])> {
    assert!(size > 0, "pieces of no bytes never end");
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest.take()?;
        match value.split_at_checked(size) {
            Some((piece, tail)) => {
                rest = Some(tail);
                Some(piece)
            }
            None => Some(value),
        }
    })
    .zip(0..)
    .map(|(piece, chunk)| (chunk, piece))
}

/// Whether a first piece of `len` bytes is followed by others.
pub fn continues(len: usize, size: usize) -> bool {
    len >= size
}

/// Puts a value together from its first piece; `fetch` brings the others by number. A value of one
/// piece is borrowed, any other is copied once.
///
/// # Errors
///
/// [`Error::Corrupt`] where a piece is missing or longer than `size`; what `fetch` answers.
pub fn join<P: AsRef<[u8]>>(
    first: &[u8],
    size: usize,
    mut fetch: impl FnMut(u32) -> Result<Option<P>>,
) -> Result<Cow<'_, [u8]>> {
    if !continues(first.len(), size) {
        return Ok(Cow::Borrowed(first));
    }
    let mut value = first.to_vec();
    let mut last_len = first.len();
    for chunk in 1.. {
        if last_len > size {
            return Err(Error::corrupt("a piece of a large value is too long"));
        }
        if last_len < size {
            break;
        }
        let Some(piece) = fetch(chunk)? else {
            return Err(Error::corrupt("a piece of a large value is missing"));
        };
        value.extend_from_slice(piece.as_ref());
        last_len = piece.as_ref().len();
    }
    Ok(Cow::Owned(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejoin(pieces: &[&[u8]], size: usize) -> Result<Vec<u8>> {
        let fetch = |chunk: u32| Ok(pieces.get(chunk as usize));
        join(pieces.first().copied().unwrap_or_default(), size, fetch).map(Cow::into_owned)
    }

    #[test]
    fn every_length_around_the_piece_size_comes_back() {
        let value: Vec<u8> = (0..=255).collect();
        for len in 0..=64 {
            for size in 1..=17 {
                let (value, _) = value.split_at(len);
                let pieces: Vec<&[u8]> = split(value, size).map(|(_, piece)| piece).collect();
                assert_eq!(pieces.len(), len / size + 1);
                assert_eq!(rejoin(&pieces, size).unwrap(), value);
            }
        }
    }

    #[test]
    fn pieces_left_over_from_a_longer_value_are_not_read() {
        assert_eq!(rejoin(&[b"abc", b"", b"old", b"o"], 3).unwrap(), b"abc");
        assert_eq!(rejoin(&[b"ab", b"old"], 3).unwrap(), b"ab");
    }

    #[test]
    fn a_missing_or_overlong_piece_is_damage() {
        let missing = rejoin(&[b"abc", b"def"], 3);
        assert!(matches!(missing, Err(Error::Corrupt { .. })), "{missing:?}");
        for pieces in [&[&b"abcd"[..], b""][..], &[b"abc", b"defg", b""]] {
            assert!(matches!(rejoin(pieces, 3), Err(Error::Corrupt { .. })));
        }
    }
}
