//! Images from and to the real file system.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Content, Image};
use crate::trace::{Ino, Kind, Place};

const BUFFER_BYTES: usize = 1 << 18;

pub(super) fn read_dir(image: &mut Image, dir: Ino, path: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    // Numbers must not depend on the order of the real directory.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| io::Error::other("a name that is not UTF-8"))?;
        let kind = entry.file_type()?;
        let node = image.fresh();
        image.set_name(&Place { dir, name: name.into() }, Some(node));
        if kind.is_dir() {
            image.make(node, Kind::Dir);
            read_dir(image, node, &entry.path())?;
        } else if kind.is_file() {
            image.make(node, Kind::File);
            if let Some(content) = image.content_mut(node) {
                read_file(content, &entry.path())?;
            }
        } else {
            return Err(io::Error::other("neither a file nor a directory"));
        }
    }
    Ok(())
}

fn read_file(content: &mut Content, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    content.set_len(file.metadata()?.len());
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset = 0;
    loop {
        let count = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        content.write(offset, bytes);
        offset += count as u64;
    }
}

pub(super) fn write_dir(image: &Image, dir: Ino, path: &Path) -> io::Result<()> {
    for (name, &node) in image.names(dir).into_iter().flatten() {
        let path = path.join(&**name);
        match (image.kind(node), image.content(node)) {
            (Some(Kind::Dir), _) => {
                fs::create_dir(&path)?;
                write_dir(image, node, &path)?;
            }
            (_, Some(content)) => write_file(content, &path)?,
            _ => {}
        }
    }
    Ok(())
}

fn write_file(content: &Content, path: &Path) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.set_len(content.len())?;
    for (offset, bytes) in content.runs() {
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&bytes)?;
    }
    Ok(())
}
