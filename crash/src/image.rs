//! What is on a disk: directories, and sparse files of shared pages.
//!
//! A clone shares everything with its original until one of the two is changed, so that thousands
//! of images which differ in a few pages are cheap to make and to tell apart.

mod content;
mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::trace::{Ino, Kind, Name, Place};
pub use content::{Content, PAGE_BYTES};

/// The names in a directory.
pub type Names = BTreeMap<Name, Ino>;

/// A file system's content.
#[derive(Debug, Clone)]
pub struct Image {
    nodes: BTreeMap<Ino, Node>,
    /// The next number that is free.
    next: u64,
}

#[derive(Debug, Clone)]
enum Node {
    File(Arc<Content>),
    Dir(Arc<Names>),
}

impl Default for Image {
    /// An empty root.
    fn default() -> Self {
        let root = Node::Dir(Arc::default());
        Self { nodes: BTreeMap::from([(Ino::ROOT, root)]), next: Ino::ROOT.0 + 1 }
    }
}

impl Image {
    /// Reads everything below a directory of the real file system.
    ///
    /// # Errors
    ///
    /// Failures to read; names that are not UTF-8; what is neither a file nor a directory.
    pub fn read_from(dir: &Path) -> io::Result<Self> {
        let mut image = Self::default();
        files::read_dir(&mut image, Ino::ROOT, dir)?;
        Ok(image)
    }

    /// Writes everything into a directory of the real file system, which exists and is empty.
    /// Holes stay holes.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        files::write_dir(self, Ino::ROOT, dir)
    }

    /// A number that no file or directory has had.
    pub fn fresh(&mut self) -> Ino {
        let ino = Ino(self.next);
        self.next += 1;
        ino
    }

    /// Makes an empty file or directory that has no name yet.
    pub fn make(&mut self, node: Ino, kind: Kind) {
        self.next = self.next.max(node.0 + 1);
        let empty = match kind {
            Kind::File => Node::File(Arc::default()),
            Kind::Dir => Node::Dir(Arc::default()),
        };
        self.nodes.insert(node, empty);
    }

    /// Whether the number is a file or a directory.
    pub fn kind(&self, node: Ino) -> Option<Kind> {
        self.nodes.get(&node).map(|node| match node {
            Node::File(_) => Kind::File,
            Node::Dir(_) => Kind::Dir,
        })
    }

    /// The content of a file.
    pub fn content(&self, file: Ino) -> Option<&Content> {
        match self.nodes.get(&file) {
            Some(Node::File(content)) => Some(content),
            _ => None,
        }
    }

    /// The content of a file, to be changed.
    pub fn content_mut(&mut self, file: Ino) -> Option<&mut Content> {
        match self.nodes.get_mut(&file) {
            Some(Node::File(content)) => Some(Arc::make_mut(content)),
            _ => None,
        }
    }

    /// The names in a directory.
    pub fn names(&self, dir: Ino) -> Option<&Names> {
        match self.nodes.get(&dir) {
            Some(Node::Dir(names)) => Some(names),
            _ => None,
        }
    }

    /// What a name leads to.
    pub fn lookup(&self, dir: Ino, name: &str) -> Option<Ino> {
        self.names(dir)?.get(name).copied()
    }

    /// Lets a name lead to something else, or to nothing.
    pub fn set_name(&mut self, at: &Place, node: Option<Ino>) {
        let Some(Node::Dir(names)) = self.nodes.get_mut(&at.dir) else { return };
        let names = Arc::make_mut(names);
        match node {
            Some(node) => names.insert(Arc::clone(&at.name), node),
            None => names.remove(&at.name),
        };
    }

    /// What is at a path that is relative to the root, with `/` between names.
    pub fn find(&self, path: &str) -> Option<Ino> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(Ino::ROOT, |dir, name| self.lookup(dir, name))
    }

    /// All files that can be reached from the root, by path in the order of names.
    pub fn files(&self) -> Vec<(String, Ino)> {
        let mut found = Vec::new();
        self.collect(Ino::ROOT, "", &mut found);
        found
    }

    fn collect(&self, dir: Ino, prefix: &str, found: &mut Vec<(String, Ino)>) {
        for (name, &node) in self.names(dir).into_iter().flatten() {
            let path = format!("{prefix}{name}");
            match self.kind(node) {
                Some(Kind::Dir) => self.collect(node, &format!("{path}/"), found),
                Some(Kind::File) => found.push((path, node)),
                None => {}
            }
        }
    }

    /// How many bytes of all files that can be reached are in pages that are not all zeros.
    pub fn allocated_bytes(&self) -> u64 {
        let contents = self.files().into_iter().filter_map(|(_, node)| self.content(node));
        contents.map(Content::allocated_bytes).sum()
    }

    /// Flips one bit of a file. Answers whether there is such a bit.
    pub fn flip_bit(&mut self, file: Ino, offset: u64, bit: u8) -> bool {
        let Some(content) = self.content_mut(file).filter(|content| offset < content.len()) else {
            return false;
        };
        let mut byte = [0];
        content.read(offset, &mut byte);
        content.write(offset, &byte.map(|byte| byte ^ (1 << (bit % 8))));
        true
    }

    /// Forgets what cannot be reached from the root.
    pub fn prune(&mut self) {
        let mut kept = BTreeMap::new();
        let mut left = vec![Ino::ROOT];
        while let Some(ino) = left.pop() {
            let Some(node) = self.nodes.remove(&ino) else { continue };
            if let Node::Dir(names) = &node {
                left.extend(names.values());
            }
            kept.insert(ino, node);
        }
        self.nodes = kept;
    }

    /// Tells images apart by what can be reached from the root: names, lengths and bytes.
    pub fn digest(&self) -> u128 {
        self.digest_of(Ino::ROOT)
    }

    fn digest_of(&self, node: Ino) -> u128 {
        let names = match self.nodes.get(&node) {
            None => return 0,
            Some(Node::File(content)) => return content.digest(),
            Some(Node::Dir(names)) => names,
        };
        let mut hasher = Xxh3::with_seed(1);
        for (name, &node) in names.iter() {
            hasher.update(&name.len().to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&self.digest_of(node).to_le_bytes());
        }
        hasher.digest128()
    }
}
