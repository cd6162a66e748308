//! A stream: entries in the order of their IDs, each a list of fields and values, and the consumer groups that read
//! them.
//!
//! Entries are packed, up to `stream-node-max-entries` in one listpack of up to about `stream-node-max-bytes`; the nodes
//! are items of one counted copy-on-write tree, found by the ID of their first entry. Groups are items of another. A
//! deleted entry stays in its node, flagged, until XDEL takes the node's last live entry. Trimming cuts whole nodes off the
//! front as long as it can, and may leave the first without a live entry, as Redis does. XSETID leaves no entry behind the
//! last ID that it sets, and so none that is added stands in front of its node's master.
//!
//! Source: redis 7.2 `src/t_stream.c`.

mod group;
mod id;
mod node;

pub use self::group::{Consumer, Group, Pending};
pub use self::id::{IdText, StreamId};
pub use self::node::{Entry, Fields, Node};

use triomphe::Arc;

use self::group::search;
use super::tree::Tree;
use crate::Limits;

/// A stream. Cloning it takes a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Stream(Arc<Inner>);

#[derive(Debug, Clone, Default)]
struct Inner {
    header: Header,
    nodes: Tree<Node>,
    groups: Tree<Group>,
}

/// What a stream knows about itself beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Number of entries.
    pub len: u64,
    /// The first entry; zero without one.
    pub first_id: StreamId,
    /// The last ID that was given to an entry, or by XSETID.
    pub last_id: StreamId,
    /// The greatest ID that XDEL has deleted; zero if none.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
}

/// No counter goes beyond: requests and replies, and so the log, have them as signed numbers.
pub const COUNT_MAX: u64 = i64::MAX as u64;

/// When a node is full.
#[derive(Debug, Clone, Copy)]
pub struct NodeLimits {
    entries: usize,
    bytes: usize,
}

/// No entry, and no node, may be larger. Source: redis 7.2 `src/t_stream.c` `STREAM_LISTPACK_MAX_SIZE`.
const NODE_BYTES_MAX: usize = 1 << 30;

impl NodeLimits {
    /// What the configuration says of streams.
    pub fn new(limits: &Limits) -> Self {
        let or_none = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        NodeLimits {
            entries: or_none(limits.stream_node_max_entries),
            bytes: or_none(limits.stream_node_max_bytes).min(NODE_BYTES_MAX),
        }
    }
}

/// Which entries a trim cuts off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrimTo {
    /// So many are left.
    MaxLen(u64),
    /// Those before this ID.
    MinId(StreamId),
}

/// A trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// What is left.
    pub to: TrimTo,
    /// Cut off whole nodes only, and leave more if they do not fit.
    pub approximate: bool,
    /// Entries that are cut off at most.
    pub limit: Option<u64>,
}

impl Header {
    /// Whether entries were deleted from `start` on, so that entries cannot be counted by IDs there.
    fn has_gaps_from(&self, start: StreamId) -> bool {
        self.len > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries, counted from the very first, come before and with an ID, where that can be told.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if id == self.last_id || self.len == 0 && id < self.last_id {
            return Some(self.entries_added);
        }
        let gaps = self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= self.first_id;
        if id > self.last_id || gaps {
            return None;
        }
        let before_first = self.entries_added.saturating_sub(self.len);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => before_first.checked_add(1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries a group has not read yet, where that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = group.entries_read.filter(|_| !self.has_gaps_from(group.last_id));
        let read = read.or_else(|| self.entries_up_to(group.last_id))?;
        Some(self.entries_added.wrapping_sub(read) as i64)
    }

    /// Moves a group on to an entry that it is given, unless it is beyond it.
    pub fn advance(&self, group: &mut Group, id: StreamId) {
        if id <= group.last_id {
            return;
        }
        group.entries_read = match group.entries_read {
            Some(read) if !self.has_gaps_from(id) => Some(one_more(read)),
            read if self.entries_added == 0 => read,
            _ => self.entries_up_to(id),
        };
        group.last_id = id;
    }
}

impl Stream {
    /// An empty stream.
    pub fn new() -> Self {
        Stream::default()
    }

    /// Puts a stream together from its parts, as they were stored; `None` if they do not fit. The number of entries
    /// and the first one are taken from the nodes; what else the header says is made to fit them, and deleted entries
    /// that are not in order leave.
    pub fn from_parts(header: Header, mut nodes: Vec<Node>, mut groups: Vec<Group>) -> Option<Self> {
        nodes.retain(|node| node.live() > 0);
        untangle(&mut nodes)?;
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        if groups.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return None;
        }
        let mut inner =
            Inner { header, nodes: nodes.into_iter().collect(), groups: groups.into_iter().collect() };
        inner.header.len = inner.nodes.iter().map(|node| node.live() as u64).sum();
        inner.note_first();
        inner.settle();
        Some(Stream(Arc::new(inner)))
    }

    /// What it knows about itself.
    pub fn header(&self) -> Header {
        self.0.header
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.0.header.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes.
    pub fn nodes(&self) -> &Tree<Node> {
        &self.0.nodes
    }

    /// The groups, by name.
    pub fn groups(&self) -> &Tree<Group> {
        &self.0.groups
    }

    /// How many allocations freeing it takes, roughly.
    pub fn free_effort(&self) -> usize {
        self.0.nodes.len() + self.0.groups.weight()
    }

    /// The entries from `start` to `end`, both included.
    pub fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let nodes = &self.0.nodes;
        let first = nodes.partition_point(|node| node.master() <= start).saturating_sub(1);
        nodes
            .range(first..nodes.len())
            .flat_map(Node::entries)
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
            .filter(|entry| !entry.deleted)
    }

    /// The same, from the last to the first.
    pub fn range_rev(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = Entry<'_>> {
        let nodes = &self.0.nodes;
        nodes
            .range(0..nodes.partition_point(|node| node.master() <= end))
            .rev()
            .flat_map(Node::entries_rev)
            .skip_while(move |entry| entry.id > end)
            .take_while(move |entry| entry.id >= start)
            .filter(|entry| !entry.deleted)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.range(StreamId::MIN, StreamId::MAX)
    }

    /// One entry.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The last entry that is not deleted.
    pub fn last(&self) -> Option<Entry<'_>> {
        self.range_rev(StreamId::MIN, StreamId::MAX).next()
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.0.groups.get(self.search_group(name).ok()?)
    }

    /// Appends an entry; `pairs` are fields and their values. The caller has seen to it that `id` is greater than the
    /// last one, and that [`fits`](Self::fits) holds.
    pub fn add(&mut self, id: StreamId, pairs: &[[&[u8]; 2]], limits: NodeLimits) {
        let inner = Arc::make_mut(&mut self.0);
        // In a tree that a snapshot shares, a new node takes copies of the same ones as a change of the last.
        let last = inner.nodes.len().wrapping_sub(1);
        let is_added = inner.nodes.update(last, |node| node.push(id, pairs, limits));
        if is_added != Some(true) {
            inner.nodes.push_back(Node::new(id, pairs));
        }
        let header = &mut inner.header;
        header.len += 1;
        header.entries_added = one_more(header.entries_added);
        header.last_id = id;
        if header.len == 1 {
            header.first_id = id;
        }
    }

    /// Whether an entry of these fields and values is not too large.
    pub fn fits(pairs: &[[&[u8]; 2]]) -> bool {
        node::len_bytes(pairs) <= NODE_BYTES_MAX
    }

    /// Deletes an entry; false if it is not there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        if self.get(id).is_none() {
            return false;
        }
        let inner = Arc::make_mut(&mut self.0);
        let index = inner.nodes.partition_point(|node| node.master() <= id).checked_sub(1);
        if !index.and_then(|index| inner.change_node(index, |node| node.delete(id))).unwrap_or(false) {
            return false;
        }
        inner.header.len -= 1;
        inner.header.max_deleted_id = id.max(inner.header.max_deleted_id);
        if id == inner.header.first_id {
            inner.note_first();
        }
        true
    }

    /// Cuts entries off the front; returns how many.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let whole = self.0.whole_nodes(trim);
        let inside = !trim.approximate
            && self.0.nodes.get(whole.nodes).is_some_and(|node| {
                // Exact trims have no limit, so what is left to do is inside one node.
                let first = node.entries().find(|entry| !entry.deleted);
                first.is_some_and(|entry| trim.to.takes(entry.id, self.len() - whole.entries))
            });
        if whole.nodes == 0 && !inside {
            return 0;
        }
        let inner = Arc::make_mut(&mut self.0);
        inner.nodes.remove_range(0..whole.nodes);
        inner.header.len -= whole.entries;
        let mut cut = whole.entries;
        if inside {
            let len = inner.header.len;
            let cut_front =
                |node: &mut Node| node.delete_front(|id, cut| trim.to.takes(id, len - cut as u64));
            let deleted = inner.nodes.update(0, cut_front).unwrap_or(0) as u64;
            inner.header.len -= deleted;
            cut += deleted;
        }
        inner.note_first();
        cut
    }

    /// XSETID: what it knows about itself, but for its entries, and as far as these allow.
    pub fn set_header(&mut self, last_id: StreamId, entries_added: u64, max_deleted_id: StreamId) {
        let inner = Arc::make_mut(&mut self.0);
        inner.header = Header { last_id, entries_added, max_deleted_id, ..inner.header };
        inner.settle();
    }

    /// Adds a group; false if there is one of its name.
    pub fn add_group(&mut self, group: Group) -> bool {
        let absent = self.search_group(&group.name).err();
        if let Some(index) = absent {
            Arc::make_mut(&mut self.0).groups.insert(index, group);
        }
        absent.is_some()
    }

    /// Removes a group; false if it is not there.
    pub fn remove_group(&mut self, name: &[u8]) -> bool {
        let found = self.search_group(name).ok();
        if let Some(index) = found {
            Arc::make_mut(&mut self.0).groups.remove(index);
        }
        found.is_some()
    }

    /// Changes a group, if it is there.
    pub fn update_group<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let index = self.search_group(name).ok()?;
        Arc::make_mut(&mut self.0).groups.update(index, change)
    }

    fn search_group(&self, name: &[u8]) -> Result<usize, usize> {
        search(&self.0.groups, |group| group.name[..].cmp(name))
    }
}

/// Deleted entries that reach into the next node leave; `None` if others do.
fn untangle(nodes: &mut [Node]) -> Option<()> {
    let mut next_master = None;
    for node in nodes.iter_mut().rev() {
        let reaches = |node: &Node| next_master.is_some_and(|master| node.last_id() >= master);
        if reaches(node) {
            node.retain(|entry| !entry.deleted);
        }
        if reaches(node) {
            return None;
        }
        next_master = Some(node.master());
    }
    Some(())
}

/// Counts on, as far as numbers go.
fn one_more(count: u64) -> u64 {
    count.saturating_add(1).min(COUNT_MAX)
}

/// Nodes that go as a whole, and the live entries in them.
struct Whole {
    nodes: usize,
    entries: u64,
}

impl Inner {
    /// The nodes that a trim cuts off as a whole.
    fn whole_nodes(&self, trim: &Trim) -> Whole {
        let mut whole = Whole { nodes: 0, entries: 0 };
        for node in self.nodes.iter() {
            let (entries, len) = (node.live() as u64, self.header.len - whole.entries);
            let goes = match trim.to {
                TrimTo::MaxLen(max_len) => len > max_len && len - entries >= max_len,
                TrimTo::MinId(min_id) => node.last_id() < min_id,
            };
            if !goes || trim.limit.is_some_and(|limit| whole.entries + entries > limit) {
                break;
            }
            whole.nodes += 1;
            whole.entries += entries;
        }
        whole
    }

    /// Makes the header one that XSETID takes, here and elsewhere. Deleted entries behind the last ID leave: they would
    /// stand in front of smaller ones that are added.
    fn settle(&mut self) {
        let Header { len, last_id, max_deleted_id, entries_added, .. } = self.header;
        let last_id =
            self.nodes.last().and_then(Node::last_live_id).map_or(last_id, |live| live.max(last_id));
        self.header.last_id = last_id;
        self.header.max_deleted_id = max_deleted_id.min(last_id);
        self.header.entries_added = entries_added.max(len).min(COUNT_MAX);
        while self.nodes.last().is_some_and(|node| node.last_id() > last_id) {
            let last = self.nodes.len().saturating_sub(1);
            self.change_node(last, |node| node.retain(|entry| entry.id <= last_id));
        }
    }

    /// Changes a node, if it is there; without a live entry it leaves.
    fn change_node<R>(&mut self, index: usize, change: impl FnOnce(&mut Node) -> R) -> Option<R> {
        let changed = self.nodes.update(index, change)?;
        if self.nodes.get(index).is_some_and(|node| node.live() == 0) {
            self.nodes.remove(index);
        }
        Some(changed)
    }

    fn note_first(&mut self) {
        let first = self.nodes.iter().flat_map(Node::entries).find(|entry| !entry.deleted);
        self.header.first_id = first.map_or(StreamId::MIN, |entry| entry.id);
    }
}

impl TrimTo {
    /// Whether it takes an entry that is the first of so many.
    fn takes(self, id: StreamId, len: u64) -> bool {
        match self {
            TrimTo::MaxLen(max_len) => len > max_len,
            TrimTo::MinId(min_id) => id < min_id,
        }
    }
}

#[cfg(test)]
mod tests;
