//! Which path an inode number stands for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The number of the root, as FUSE has it.
const ROOT: u64 = 1;

/// Numbers are given when a path is first seen and never given again: the kernel may hold on to an
/// old one.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    paths: BTreeMap<u64, PathBuf>,
    numbers: BTreeMap<PathBuf, u64>,
    last: u64,
}

impl Tree {
    pub(super) fn new(root: PathBuf) -> Self {
        let mut tree = Self {
            root,
            paths: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last: ROOT,
        };
        tree.reset();
        tree
    }

    /// Forgets every path but the root's: after a power cut another file may be there.
    pub(super) fn reset(&mut self) {
        self.paths = BTreeMap::from([(ROOT, self.root.clone())]);
        self.numbers = BTreeMap::from([(self.root.clone(), ROOT)]);
    }

    pub(super) fn path(&self, ino: u64) -> Option<PathBuf> {
        self.paths.get(&ino).cloned()
    }

    pub(super) fn number(&mut self, path: &Path) -> u64 {
        if let Some(ino) = self.numbers.get(path) {
            return *ino;
        }
        self.last += 1;
        self.paths.insert(self.last, path.to_owned());
        self.numbers.insert(path.to_owned(), self.last);
        self.last
    }

    /// The path is gone.
    pub(super) fn removed(&mut self, path: &Path) {
        if let Some(ino) = self.numbers.remove(path) {
            self.paths.remove(&ino);
        }
    }

    /// The path, and everything below it, is elsewhere.
    pub(super) fn renamed(&mut self, from: &Path, to: &Path) {
        self.removed(to);
        let below: Vec<(PathBuf, u64)> = self
            .numbers
            .range(from.to_owned()..)
            .take_while(|(path, _)| path.starts_with(from))
            .map(|(path, ino)| (path.clone(), *ino))
            .collect();
        for (path, ino) in below {
            self.numbers.remove(&path);
            let mut path = path;
            super::journal::moved(&mut path, from, to);
            self.paths.insert(ino, path.clone());
            self.numbers.insert(path, ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_follows_its_file() {
        let mut tree = Tree::new(PathBuf::from("/r"));
        let file = tree.number(Path::new("/r/a/f"));
        let near = tree.number(Path::new("/r/a.txt"));
        tree.renamed(Path::new("/r/a"), Path::new("/r/b"));
        assert_eq!(tree.path(file), Some(PathBuf::from("/r/b/f")));
        assert_eq!(tree.number(Path::new("/r/b/f")), file);
        assert_eq!(tree.path(near), Some(PathBuf::from("/r/a.txt")));
        tree.removed(Path::new("/r/b/f"));
        assert_eq!(tree.path(file), None);
        assert_ne!(
            tree.number(Path::new("/r/b/f")),
            file,
            "a new file, a new number"
        );
    }
}
