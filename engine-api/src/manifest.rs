//! What a store's MANIFEST says.
//!
//! A few lines of text, so that a person can read them, and a checksum over all lines before it:
//!
//! ```text
//! kvlogdb manifest 1
//! engine redb
//! layout 1
//! identity 6e6f64652d31
//! crc32c 1d2a6cf0
//! ```

use std::fmt::Write;
use std::path::Path;
use std::{fs, io};

use crate::{Error, Result};

/// The file's name in a store's directory.
pub(crate) const MANIFEST: &str = "MANIFEST";
/// The longest identity that a store can carry.
pub const MAX_IDENTITY_BYTES: usize = 64;

const VERSION: u32 = 1;

/// Who made a store, in which layout, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The engine's name.
    pub engine: String,
    /// The version of the engine crate's layout.
    pub layout: u32,
    /// What the caller said at creation: a node's or cluster's id. Empty where it said nothing.
    pub identity: Vec<u8>,
}

impl Manifest {
    /// Reads the MANIFEST of the store in `dir`; `None` where there is none. Nothing is locked or
    /// written.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] and [`Error::Format`] where it cannot be read as one.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        match fs::read(dir.join(MANIFEST)) {
            Ok(bytes) => Self::parse(&bytes).map(Some),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("read the store's MANIFEST", error)),
        }
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\nengine {}\n", header(VERSION), self.engine);
        let mut identity = String::new();
        for byte in &self.identity {
            let _ = write!(identity, "{byte:02x}");
        }
        let _ = write!(text, "layout {}\nidentity {identity}\n", self.layout);
        let _ = writeln!(text, "crc32c {:08x}", crc32c::crc32c(text.as_bytes()));
        text.into_bytes()
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let (first, _) = text.split_once('\n').ok_or_else(damaged)?;
        if first != header(VERSION) {
            let found = first.strip_prefix("kvlogdb manifest ").and_then(|n| n.parse::<u32>().ok());
            let found = found.ok_or_else(damaged)?;
            return Err(Error::Format { what: format!("MANIFEST version {found}"), source: None });
        }
        let end = text.rfind("crc32c ").ok_or_else(damaged)?;
        let (body, checksum) = text.split_at_checked(end).ok_or_else(damaged)?;
        if checksum != format!("crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())) {
            return Err(damaged());
        }
        Self::parse_body(body).ok_or_else(damaged)
    }

    fn parse_body(body: &str) -> Option<Self> {
        let mut lines = body.lines().skip(1);
        let engine = lines.next()?.strip_prefix("engine ")?.to_owned();
        let layout = lines.next()?.strip_prefix("layout ")?.parse().ok()?;
        let identity = parse_hex(lines.next()?.strip_prefix("identity ")?)?;
        Some(Self { engine, layout, identity }).filter(|_| lines.next().is_none())
    }
}

fn header(version: u32) -> String {
    format!("kvlogdb manifest {version}")
}

fn damaged() -> Error {
    Error::corrupt("the store's MANIFEST")
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest { engine: "redb".into(), layout: 1, identity: b"node-1".to_vec() }
    }

    #[test]
    fn the_bytes_are_the_documented_ones_and_read_back() {
        let text = String::from_utf8(manifest().encode()).unwrap();
        let body = "kvlogdb manifest 1\nengine redb\nlayout 1\nidentity 6e6f64652d31\n";
        assert_eq!(text, format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes())));
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest());
        let nameless = Manifest { identity: Vec::new(), ..manifest() };
        assert_eq!(Manifest::parse(&nameless.encode()).unwrap(), nameless);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = manifest().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Manifest::parse(&damaged).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Manifest::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let newer = b"kvlogdb manifest 2\nwhatever\n";
        assert!(matches!(Manifest::parse(newer), Err(Error::Format { .. })));
    }
}
