use super::*;

struct Bed {
    _folder: tempfile::TempDir,
    root: PathBuf,
    journal: Journal,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root, kept) = (folder.path().join("root"), folder.path().join("kept"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&kept).unwrap();
        Self {
            _folder: folder,
            root,
            journal: Journal::new(kept),
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Arc<File> {
        let path = self.root.join(name);
        fs::write(&path, bytes).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        Arc::new(file)
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(name)).ok()
    }

    fn lose(&mut self) -> Taken {
        self.journal.cut(Cut::Lost, &mut Rng::new(1)).unwrap()
    }
}

#[test]
fn synced_data_stays_and_the_rest_goes() {
    let mut bed = Bed::new();
    let file = bed.file("a", b"0123456789");
    bed.journal.write(7, &file, 2, b"xx").unwrap();
    bed.journal.synced(7);
    bed.journal.write(7, &file, 3, b"yy").unwrap();
    bed.journal.write(7, &file, 9, b"longer").unwrap();
    bed.journal.resize(7, &file, 4).unwrap();
    assert_eq!(bed.read("a").unwrap(), b"01xy");
    let taken = bed.lose();
    assert_eq!(bed.read("a").unwrap(), b"01xx456789");
    assert_eq!((taken.files, taken.sectors), (1, 2));
    assert_eq!(bed.lose(), Taken::default(), "nothing is taken twice");
}

#[test]
fn a_folder_s_sync_covers_its_names_only() {
    let mut bed = Bed::new();
    let (root, sub) = (bed.root.clone(), bed.root.join("sub"));
    fs::create_dir(&sub).unwrap();
    bed.journal.created(sub.clone());
    bed.file("kept", b"k");
    bed.journal.created(root.join("kept"));
    bed.journal.synced_names(&root);
    bed.file("sub/lost", b"l");
    bed.journal.created(sub.join("lost"));
    bed.journal.remove(root.join("kept")).unwrap();
    assert_eq!(bed.read("kept"), None);
    bed.lose();
    assert_eq!(
        bed.read("kept").unwrap(),
        b"k",
        "its removal was not synced"
    );
    assert_eq!(bed.read("sub/lost"), None);
    assert!(sub.is_dir());
}

#[test]
fn an_unsynced_rename_brings_both_files_back() {
    let mut bed = Bed::new();
    let root = bed.root.clone();
    bed.file("now", b"old");
    bed.file("tmp", b"new");
    bed.journal.created(root.join("tmp"));
    bed.journal
        .rename(root.join("tmp"), root.join("now"))
        .unwrap();
    assert_eq!(bed.read("now").unwrap(), b"new");
    bed.lose();
    assert_eq!(bed.read("now").unwrap(), b"old");
    assert_eq!(bed.read("tmp"), None, "nor was its making synced");
}

#[test]
fn what_is_in_a_renamed_folder_is_found_again() {
    let mut bed = Bed::new();
    let (root, old, new) = (bed.root.clone(), bed.root.join("old"), bed.root.join("new"));
    fs::create_dir(&old).unwrap();
    bed.file("old/f", b"f");
    bed.journal.created(old.join("f"));
    bed.journal.rename(old.clone(), new.clone()).unwrap();
    bed.journal.synced_names(&root);
    bed.lose();
    assert!(new.is_dir() && !old.exists());
    assert_eq!(bed.read("new/f"), None);
}

#[test]
fn a_torn_write_is_torn_at_sectors_and_damages_nothing_that_was_synced() {
    let mut seen = (false, false);
    for seed in 0..40 {
        let mut bed = Bed::new();
        let file = bed.file("a", &[1; 4096]);
        bed.journal.write(1, &file, 100, &[2; 2000]).unwrap();
        bed.journal.write(1, &file, 1000, &[3; 2000]).unwrap();
        bed.journal.cut(Cut::Torn, &mut Rng::new(seed)).unwrap();
        let bytes = bed.read("a").unwrap();
        assert_eq!(bytes.len(), 4096, "seed {seed}");
        assert!(
            bytes[..100]
                .iter()
                .chain(&bytes[3000..])
                .all(|byte| *byte == 1)
        );
        // The newer write is never under the older one that it covers.
        let sector = &bytes[1024..1536];
        assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}");
        seen.0 |= sector[0] == 3;
        seen.1 |= sector[0] == 1;
    }
    assert_eq!(seen, (true, true));
}

#[test]
fn a_wrong_bit_is_only_in_what_was_not_synced() {
    let mut flipped = 0;
    for seed in 0..40 {
        let mut bed = Bed::new();
        let file = bed.file("a", &[0; 512]);
        bed.journal.write(1, &file, 512, &[0xff; 1024]).unwrap();
        let taken = bed.journal.cut(Cut::Flipped, &mut Rng::new(seed)).unwrap();
        flipped += taken.flipped;
        let bytes = bed.read("a").unwrap();
        assert_eq!(bytes[..512], [0; 512], "seed {seed}");
    }
    assert!(flipped > 0);
}
