//! A disk as two views, and all that a power cut may make of the difference. Pure: no lock, no clock; chance is a seed.
//!
//! ```text
//! a file        now   [ page 0 ][ page 1 ][ page 2 ][ pa     what a process reads: the page cache
//!               disk  [ page 0 ][ pa                         what is certain, since the last sync
//!               so pages 1, 2 and 3 and the size are unsure: each may have arrived, wholly, partly or not at all
//!
//! a directory   now   the names that a process sees
//!               disk  those that are certain, since it was last synced
//!               and the changes between the two, in order: each may have arrived or not
//! ```
//!
//! A sync that fails leaves its pages *lost*: clean for the kernel, so that a later sync succeeds without them, and
//! readable for as long as there is power. Only writing to such a page again brings all of it to the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::record::Opening;

/// What arrives whole or not, unless it is torn, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// How much of what was not synced a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// All of it, bytes and names: what POSIX allows, and the least that may be there.
    Unsynced,
    /// Each file keeps its first bytes, in the order of writing. From here on, each change of a name arrives or not.
    Tail,
    /// The same, but sizes were ahead of the data: zeros follow.
    TailLeavingZeros,
    /// Any pages, whole or their ends; zeros stand where they were to be.
    PagesLeavingZeros,
    /// Any pages; where they were to be stands what those blocks held before: noise, the beginning of this file, or what was
    /// synced of any other that was, from anywhere in it. But not from where another server's commands would begin, which
    /// nothing can tell from those; nor of a base, whose blocks may look like later ones of the log (a start refuses them).
    PagesLeavingOldBlocks,
}

/// Files and directories, as a process sees them and as the disk has them.
#[derive(Default, Clone)]
pub(super) struct World {
    /// By [`FileId`], those without a name too: somebody may have them open.
    contents: Vec<Content>,
    now: Names,
    disk: Names,
    changes: Vec<Change>,
    /// How many bytes there is room for; none: any number.
    capacity_bytes: Option<u64>,
}

pub(super) type FileId = usize;

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File(FileId),
    Directory,
}

/// What a call did to the names of one directory: all of it arrives, or nothing.
#[derive(Clone)]
struct Change {
    dir: PathBuf,
    names: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Default, Clone)]
pub(super) struct Content {
    now: Vec<u8>,
    disk: Vec<u8>,
    dirty: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    /// Space up to here is the file's own.
    reserved_to: u64,
    /// It was made under a name for a while: a base, or a manifest.
    is_temporary: bool,
}

impl World {
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.now.iter().filter(|(_, node)| **node != Node::Directory).map(|(path, _)| path)
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<FileId> {
        match self.now.get(path) {
            Some(&Node::File(id)) => Ok(id),
            _ => Err(not_found()),
        }
    }

    pub(super) fn content(&mut self, id: FileId) -> &mut Content {
        &mut self.contents[id]
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<FileId> {
        let is_there = |dir: &Path| is_root(dir) || self.now.get(dir) == Some(&Node::Directory);
        if !path.parent().is_none_or(is_there) {
            return Err(not_found());
        }
        let id = self.find(path).unwrap_or_else(|_| {
            let is_temporary =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp-"));
            let id = self.new_file(Content { is_temporary, ..Content::default() });
            self.change(&[(path, Some(Node::File(id)))]);
            id
        });
        self.contents[id].empty();
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, dir: &Path) {
        if !self.now.contains_key(dir) {
            self.change(&[(dir, Some(Node::Directory))]);
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = Some(Node::File(self.find(from)?));
        if from.parent() == to.parent() {
            self.change(&[(from, None), (to, file)]);
        } else {
            // Two directories, which nothing makes durable at once.
            self.change(&[(to, file)]);
            self.change(&[(from, None)]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.change(&[(path, None)]);
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if self.now.get(dir) != Some(&Node::Directory) {
            return Err(not_found());
        }
        let names = self.paths().filter(|path| path.parent() == Some(dir));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let disk = &mut self.disk;
        self.changes.retain(|change| {
            let is_elsewhere = change.dir != dir;
            if !is_elsewhere {
                change.apply(disk);
            }
            is_elsewhere
        });
    }

    /// Puts a file there, durable and with its directory.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) {
        let file = Node::File(self.new_file(Content::of(bytes.to_vec())));
        let dir = path.parent().filter(|dir| !is_root(dir)).map(|dir| (dir.to_path_buf(), Node::Directory));
        for names in [&mut self.now, &mut self.disk] {
            names.extend(dir.clone());
            names.insert(path.to_path_buf(), file);
        }
        self.changes.retain(|change| change.names.iter().all(|(name, _)| name != path));
    }

    pub(super) fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = Some(bytes);
    }

    pub(super) fn without_end(&self) -> World {
        World { capacity_bytes: None, ..self.clone() }
    }

    /// Bytes that there is room for, if the disk has an end.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let files = self.now.values().filter_map(|node| match *node {
            Node::File(id) => Some(self.contents[id].used_bytes()),
            Node::Directory => None,
        });
        self.capacity_bytes.map(|capacity| capacity.saturating_sub(files.sum()))
    }

    /// Returns how much of it there was room for.
    pub(super) fn append(&mut self, id: FileId, bytes: &[u8]) -> usize {
        let free_bytes = self.free_bytes();
        let content = self.content(id);
        let room = free_bytes.map_or(u64::MAX, |free| free.saturating_add(content.owned_bytes()));
        let landed = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        content.append(&bytes[..landed]);
        landed
    }

    pub(super) fn reserve(&mut self, id: FileId, to: u64) -> io::Result<()> {
        let Some(free_bytes) = self.free_bytes() else { return Err(io::ErrorKind::Unsupported.into()) };
        let content = self.content(id);
        if to.saturating_sub(content.used_bytes()) > free_bytes {
            return Err(no_space());
        }
        content.reserved_to = content.reserved_to.max(to);
        Ok(())
    }

    /// What a start finds after a power cut at this moment.
    pub(super) fn after(&self, cut: PowerCut, seed: u64) -> World {
        let mut dice = Dice(seed);
        let mut now = self.surviving_names(cut, &mut dice);
        let dirs: BTreeSet<PathBuf> =
            now.iter().filter(|(_, node)| **node == Node::Directory).map(|(path, _)| path.clone()).collect();
        now.retain(|path, _| {
            path.parent().is_none_or(|dir| is_root(dir) || dirs.contains(dir) || dirs.contains(path))
        });
        let mut contents = vec![Content::default(); self.contents.len()];
        for node in now.values() {
            if let Node::File(id) = *node {
                let old = self.old_block(&mut dice);
                let Content { is_temporary, .. } = self.contents[id];
                contents[id] =
                    Content { is_temporary, ..Content::of(self.contents[id].after(cut, old, &mut dice)) };
            }
        }
        World { contents, disk: now.clone(), now, ..World::default() }
    }

    /// What a block may have held before.
    fn old_block(&self, dice: &mut Dice) -> &[u8] {
        let files: Vec<&Content> = self.contents.iter().filter(|content| !content.is_temporary).collect();
        let old = files.get(dice.below(files.len())).map_or(&[][..], |content| &content.disk);
        let is_told = |from: &usize| Opening::of(&old[*from..]) != Opening::Whole;
        let from = (dice.below(old.len())..old.len()).find(is_told);
        &old[from.unwrap_or(old.len())..]
    }

    fn surviving_names(&self, cut: PowerCut, dice: &mut Dice) -> Names {
        let mut names = self.disk.clone();
        if cut == PowerCut::Unsynced {
            return names;
        }
        // A journal keeps the order; POSIX does not ask for one.
        let journal = (dice.below(2) == 0).then(|| dice.below(self.changes.len() + 1));
        for (n, change) in self.changes.iter().enumerate() {
            if journal.map_or_else(|| dice.below(2) == 0, |kept| n < kept) {
                change.apply(&mut names);
            }
        }
        names
    }

    /// All of one directory.
    fn change(&mut self, names: &[(&Path, Option<Node>)]) {
        let dir = names.first().and_then(|(path, _)| path.parent()).unwrap_or(Path::new("")).to_path_buf();
        let names = names.iter().map(|&(path, node)| (path.to_path_buf(), node)).collect();
        let change = Change { dir, names };
        change.apply(&mut self.now);
        self.changes.push(change);
    }

    fn new_file(&mut self, content: Content) -> FileId {
        self.contents.push(content);
        self.contents.len() - 1
    }
}

impl Change {
    fn apply(&self, to: &mut Names) {
        for (path, node) in &self.names {
            match node {
                Some(node) => drop(to.insert(path.clone(), *node)),
                None => drop(to.remove(path)),
            }
        }
    }
}

impl Content {
    fn of(bytes: Vec<u8>) -> Content {
        Content { disk: bytes.clone(), now: bytes, ..Content::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    fn used_bytes(&self) -> u64 {
        self.reserved_to.max(self.now.len() as u64)
    }

    /// Of those, behind its end.
    fn owned_bytes(&self) -> u64 {
        self.used_bytes() - self.now.len() as u64
    }

    /// Gives back what it owns behind its end.
    pub(super) fn trim(&mut self) {
        self.reserved_to = 0;
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let first = self.now.len() / PAGE_BYTES;
        self.now.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.touch(first..self.now.len().div_ceil(PAGE_BYTES));
        }
    }

    pub(super) fn overwrite(&mut self, offset_bytes: usize, bytes: &[u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        let place = self.now.get_mut(offset_bytes..end).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(bytes);
        self.touch(offset_bytes / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        self.disk.resize(self.now.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let range = page_range(page, self.now.len());
            self.disk[range.clone()].copy_from_slice(&self.now[range]);
        }
    }

    pub(super) fn fail_to_sync(&mut self) {
        self.lost.append(&mut self.dirty);
    }

    /// Length and bytes are durable then.
    pub(super) fn truncate(&mut self, len_bytes: usize) {
        self.now.resize(len_bytes, 0);
        self.trim();
        let pages = len_bytes.div_ceil(PAGE_BYTES);
        self.dirty.retain(|&page| page < pages);
        self.lost.retain(|&page| page < pages);
        // The kernel clears the rest of the page that it cuts, and thus writes to it.
        self.touch(len_bytes / PAGE_BYTES..pages);
        self.sync();
    }

    fn empty(&mut self) {
        self.now.clear();
        self.trim();
        self.dirty.clear();
        self.lost.clear();
    }

    fn touch(&mut self, pages: Range<usize>) {
        for page in pages {
            self.lost.remove(&page);
            self.dirty.insert(page);
        }
    }

    /// The bytes that a power cut leaves.
    fn after(&self, cut: PowerCut, old: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.disk.clone();
        if cut == PowerCut::Unsynced {
            return bytes;
        }
        let (short, long) = (self.disk.len().min(self.now.len()), self.disk.len().max(self.now.len()));
        // How far bytes that arrive in order have come.
        let reached = dice.between(short, long);
        let len_bytes = if cut == PowerCut::Tail { reached } else { dice.between(reached, long) };
        bytes.resize(len_bytes, 0);
        if cut == PowerCut::PagesLeavingOldBlocks {
            let from = self.disk.len().min(len_bytes);
            dice.fill_with_old_blocks(&mut bytes[from..], &self.now, old);
        }
        for &page in self.dirty.union(&self.lost) {
            let Range { start, end } = page_range(page, self.now.len().min(len_bytes));
            let to = match cut {
                PowerCut::Tail | PowerCut::TailLeavingZeros => reached.clamp(start, end),
                _ => [start, end, dice.between(start, end)][dice.below(3)],
            };
            bytes[start..to].copy_from_slice(&self.now[start..to]);
        }
        bytes
    }
}

/// The bytes of a page, as far as they are below `len_bytes`.
fn page_range(page: usize, len_bytes: usize) -> Range<usize> {
    (page * PAGE_BYTES).min(len_bytes)..((page + 1) * PAGE_BYTES).min(len_bytes)
}

/// Chance that a seed repeats: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }

    /// Either end now and then, else anything from `low` to `high`.
    fn between(&mut self, low: usize, high: usize) -> usize {
        match self.below(4) {
            0 => low,
            1 => high,
            _ => low + self.below(high.saturating_sub(low) + 1),
        }
    }

    /// Noise, or what reads like the log that it is not.
    fn fill_with_old_blocks(&mut self, blocks: &mut [u8], this: &[u8], any: &[u8]) {
        let old = match self.below(3) {
            0 => return blocks.iter_mut().for_each(|byte| *byte = self.roll().to_le_bytes()[0]),
            1 => this,
            _ => any,
        };
        blocks.iter_mut().zip(old.iter().cycle()).for_each(|(byte, old)| *byte = *old);
    }
}

/// The directories that exist before anybody makes one.
fn is_root(dir: &Path) -> bool {
    dir.parent().is_none() || dir.as_os_str().is_empty()
}

pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn not_found() -> io::Error {
    // The number, so that its text is the system's.
    io::Error::from_raw_os_error(2)
}

#[cfg(all(test, not(loom)))]
mod tests;
