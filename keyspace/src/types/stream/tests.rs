//! A stream against a map of its entries.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::types::listpack::{Element, Listpack};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<StreamId, Pairs>;

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

fn owned(entry: Entry<'_>) -> (StreamId, Pairs) {
    let text = |element: crate::types::listpack::Element<'_>| element.with_bytes(<[u8]>::to_vec);
    (entry.id, entry.fields.map(|(field, value)| (text(field), text(value))).collect())
}

fn check(stream: &Stream, model: &Model) {
    let entries: Vec<_> = stream.iter().map(owned).collect();
    assert!(entries.iter().map(|(id, fields)| (id, fields)).eq(model.iter()), "{entries:?} is not {model:?}");
    let reversed: Vec<_> = stream.range_rev(StreamId::MIN, StreamId::MAX).map(owned).collect();
    assert!(reversed.iter().rev().eq(entries.iter()));
    assert_eq!(stream.len(), model.len() as u64);
    assert_eq!(stream.header().first_id, model.keys().next().copied().unwrap_or(StreamId::MIN));
    let masters: Vec<_> = stream.nodes().iter().map(Node::master).collect();
    let is_ordered = |node: &Node| node.entries().all(|entry| node.master() <= entry.id);
    assert!(masters.is_sorted() && stream.nodes().iter().all(is_ordered), "{masters:?}");
    assert!(stream.nodes().iter().skip(1).all(|node| node.live() > 0), "{masters:?}");
    // What an RDB file holds of it can be read back.
    let nodes = stream.nodes().iter().map(|node| {
        let pack = Listpack::from_bytes(node.pack().as_bytes()).expect("a sound listpack");
        Node::from_parts(node.master(), pack).expect("a sound node")
    });
    let again = Stream::from_parts(stream.header(), nodes.collect(), Vec::new()).expect("parts that fit");
    assert_eq!(again.header(), stream.header());
    assert!(again.iter().map(owned).eq(entries));
}

#[derive(Debug, Clone)]
enum Op {
    Add { ms: u64, fields: Vec<(u8, Vec<u8>)> },
    Delete { place: usize },
    Trim(Trim),
    Empty,
    SetId { ahead: u64 },
    Range { from: u64, to: u64 },
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    let fields = prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 0..5)), 1..4);
    let to = prop_oneof![
        (0u64..12).prop_map(TrimTo::MaxLen),
        (0u64..30).prop_map(|ms| TrimTo::MinId(StreamId { ms, seq: 1 }))
    ];
    let trim = (to, any::<bool>(), prop::option::of(0u64..9)).prop_map(|(to, approximate, limit)| Trim {
        to,
        approximate,
        limit: limit.filter(|_| approximate),
    });
    prop_oneof![
        6 => (0u64..3, fields).prop_map(|(ms, fields)| Op::Add { ms, fields }),
        3 => (0usize..12).prop_map(|place| Op::Delete { place }),
        1 => trim.prop_map(Op::Trim),
        1 => Just(Op::Empty),
        1 => (0u64..4).prop_map(|ahead| Op::SetId { ahead }),
        1 => (0u64..30, 0u64..30).prop_map(|(from, to)| Op::Range { from, to }),
        1 => Just(Op::Snapshot),
    ]
}

/// What a trim may leave: the model is cut to what the stream has kept, which must be an end of it, long enough.
fn check_trim(stream: &mut Stream, model: &mut Model, trim: &Trim) {
    let before = model.len();
    let exact: usize = match trim.to {
        TrimTo::MaxLen(max_len) => before.saturating_sub(max_len as usize),
        TrimTo::MinId(min_id) => model.range(..min_id).count(),
    };
    let cut = stream.trim(trim) as usize;
    assert!(if trim.approximate { cut <= exact } else { cut == exact }, "{cut} of {exact}: {trim:?}");
    assert!(trim.limit.is_none_or(|limit| cut as u64 <= limit));
    let keys: Vec<StreamId> = model.keys().take(cut).copied().collect();
    keys.iter().for_each(|key| _ = model.remove(key));
}

proptest! {
    #[test]
    fn a_stream_is_a_map_in_nodes(ops in prop::collection::vec(op(), 1..80), entries in 1usize..6) {
        let limits = NodeLimits { entries, bytes: 200 };
        let (mut stream, mut model) = (Stream::new(), Model::new());
        let mut snapshots = Vec::new();
        for op in ops {
            match op {
                Op::Add { ms, fields } => {
                    let last = stream.header().last_id;
                    let id = if ms == 0 { last.next().expect("far from the end") } else { id(last.ms + ms, 0) };
                    let fields: Pairs =
                        fields.into_iter().map(|(name, value)| (vec![b'0' + name], value)).collect();
                    let pairs: Vec<[&[u8]; 2]> =
                        fields.iter().map(|(name, value)| [&name[..], &value[..]]).collect();
                    stream.add(id, &pairs, limits);
                    model.insert(id, fields);
                }
                Op::Delete { place } => {
                    let key = model.keys().nth(place).copied().unwrap_or(StreamId::MAX);
                    assert_eq!(stream.delete(key), model.remove(&key).is_some());
                    assert!(!stream.delete(key));
                }
                Op::Trim(trim) => check_trim(&mut stream, &mut model, &trim),
                // Right behind the last entry: deleted ones can stand behind that.
                Op::Empty => {
                    let last = model.keys().last().copied().unwrap_or(StreamId::MIN);
                    let to = TrimTo::MinId(last.next().expect("far from the end"));
                    check_trim(&mut stream, &mut model, &Trim { to, approximate: false, limit: None });
                }
                // As near to the last entry that is left as XSETID lets it be, or ahead of it; without one, in front of
                // all that ever were.
                Op::SetId { ahead } => {
                    let last = model.keys().last().copied().unwrap_or(StreamId::MIN);
                    stream.set_header(id(last.ms + ahead, last.seq), stream.header().entries_added, id(0, 1));
                }
                Op::Range { from, to } => {
                    let (from, to) = (id(from.min(to), 1), id(from.max(to), 0));
                    let (from, to) = (from.min(to), from.max(to));
                    let found: Vec<_> = stream.range(from, to).map(|entry| entry.id).collect();
                    assert!(found.iter().eq(model.range(from..=to).map(|(id, _)| id)));
                    let found: Vec<_> = stream.range_rev(from, to).map(|entry| entry.id).collect();
                    assert!(found.iter().eq(model.range(from..=to).rev().map(|(id, _)| id)));
                }
                Op::Snapshot => snapshots.push((stream.clone(), model.clone())),
            }
            check(&stream, &model);
            assert!(stream.nodes().iter().all(|node| node.entries().count() <= entries));
        }
        snapshots.iter().for_each(|(stream, model)| check(stream, model));
    }

    /// Of any two pending lists one entry is in the group's and in one consumer's.
    #[test]
    fn a_group_and_its_consumers_agree(
        ops in prop::collection::vec((0u8..4, 0u64..12, 0usize..3), 1..120),
    ) {
        let names: [&[u8]; 3] = [b"b", b"a", b"c"];
        let mut group = Group::new(b"g", StreamId::MIN, None);
        let mut model: BTreeMap<StreamId, usize> = BTreeMap::new();
        for (op, ms, consumer) in ops {
            match op {
                0 | 1 => {
                    group.create_consumer(names[consumer], 0);
                    group.assign(id(ms, 0), names[consumer], 1, 1);
                    model.insert(id(ms, 0), consumer);
                }
                2 => assert_eq!(group.acknowledge(id(ms, 0)), model.remove(&id(ms, 0)).is_some()),
                _ => {
                    let pending = model.values().filter(|&&owner| owner == consumer).count();
                    assert_eq!(group.delete_consumer(names[consumer]).unwrap_or(0), pending);
                    model.retain(|_, owner| *owner != consumer);
                }
            }
            let owners = group.pending_from(StreamId::MIN).map(|pending| (pending.id, &pending.consumer[..]));
            assert!(owners.eq(model.iter().map(|(&id, &owner)| (id, names[owner]))));
            for consumer in group.consumers().iter() {
                let own = group.pending_of(consumer, StreamId::MIN).map(|pending| pending.id);
                let expected = model.iter().filter(|(_, owner)| names[**owner] == &consumer.name[..]);
                assert!(own.eq(expected.map(|(&id, _)| id)));
            }
        }
    }

    #[test]
    fn no_listpack_makes_a_node_panic(elements in prop::collection::vec(-3i64..7, 0..24)) {
        let mut pack = Listpack::new();
        pack.extend(elements.iter().map(|&element| Element::Int(element)));
        if let Some(node) = Node::from_parts(id(1, 1), pack) {
            assert_eq!(node.entries().count(), node.entries_rev().count());
        }
    }
}

#[test]
fn entries_of_the_same_fields_name_them_once() {
    let limits = NodeLimits { entries: 100, bytes: 4096 };
    let mut stream = Stream::new();
    for seq in 1..=100 {
        stream.add(id(1_700_000_000_000, seq), &[[b"temperature", b"21"], [b"humidity", b"40"]], limits);
    }
    let bytes: usize = stream.nodes().iter().map(|node| node.pack().len_bytes()).sum();
    assert_eq!(stream.nodes().len(), 1);
    assert!(bytes < 100 * 14, "{bytes}");
}

/// The number of live entries takes another byte from the 128th on, and moves all that is behind it.
#[test]
fn a_node_of_hundreds_of_entries_holds_them_with_their_own_fields_or_the_master_s() {
    let limits = NodeLimits { entries: 300, bytes: 1 << 20 };
    let (mut stream, mut model) = (Stream::new(), Model::new());
    for ms in 1..=300 {
        let (field, value): (&[u8], _) = (if ms % 128 < 2 { b"other" } else { b"field" }, vec![b'v'; ms]);
        let id = id(1000 * ms as u64, 300 - ms as u64);
        stream.add(id, &[[field, &value], [b"7", b"-300"]], limits);
        let pairs = vec![(field.to_vec(), value), (b"7".to_vec(), b"-300".to_vec())];
        model.insert(id, pairs);
    }
    assert_eq!(stream.nodes().len(), 1);
    check(&stream, &model);
}

/// Redis appends in this order once its last ID was lowered, and keeps the deleted entries where they stand.
#[test]
fn deleted_entries_out_of_order_leave_and_others_are_refused() {
    /// A last ID, nodes of IDs that may be deleted, the IDs that are read.
    type Row<'a> = (u64, &'a [&'a [(u64, bool)]], Option<&'a [u64]>);
    let limits = NodeLimits { entries: 100, bytes: 4096 };
    let node_of = |ids: &[(u64, bool)]| {
        let mut node = Node::new(id(ids[0].0, 0), &[[b"f", b"v"]]);
        ids[1..].iter().for_each(|&(ms, _)| assert!(node.push(id(ms, 0), &[[b"f", b"v"]], limits)));
        for &(ms, deleted) in ids {
            assert!(!deleted || node.delete(id(ms, 0)));
        }
        Node::from_parts(node.master(), node.pack().clone())
    };
    let stream_of = |last: u64, nodes: &[&[(u64, bool)]]| {
        let nodes: Option<Vec<Node>> = nodes.iter().map(|ids| node_of(ids)).collect();
        Stream::from_parts(Header { last_id: id(last, 0), ..Header::default() }, nodes?, Vec::new())
    };
    let (live, deleted) = (|ms: u64| (ms, false), |ms: u64| (ms, true));
    let table: &[Row<'_>] = &[
        (4, &[&[live(1), deleted(9), live(3)], &[live(4)]], Some(&[1, 3, 4])),
        (4, &[&[live(1), live(3), deleted(9)], &[live(4)]], Some(&[1, 3, 4])),
        (4, &[&[live(1), live(3), deleted(4)], &[live(4)]], Some(&[1, 3, 4])),
        (4, &[&[live(1), live(4), deleted(9)]], Some(&[1, 4])),
        (4, &[&[deleted(1), live(4), deleted(4)]], Some(&[4])),
        (4, &[&[live(1), deleted(4)], &[deleted(2), deleted(3)]], Some(&[1])),
        (4, &[&[deleted(1)]], Some(&[])),
        (2, &[&[live(1), live(3)]], Some(&[1, 3])),
        (9, &[&[live(1), live(3), live(2)]], None),
        (9, &[&[live(1), live(3)], &[live(2)]], None),
        (9, &[&[live(1), live(3)], &[live(3)]], None),
        (9, &[&[live(0), live(3)]], None),
        // In front of the master.
        (9, &[&[deleted(5), live(3)]], Some(&[3])),
        (9, &[&[deleted(5), deleted(9), live(3), live(4), live(7)]], Some(&[3, 4, 7])),
        (9, &[&[live(1)], &[deleted(5), live(3), live(8)], &[live(9)]], Some(&[1, 3, 8, 9])),
        (9, &[&[live(1), live(3)], &[deleted(5), live(3)]], None),
        (9, &[&[deleted(5), live(4), live(3)]], None),
        (9, &[&[deleted(5), live(0)]], None),
        (9, &[&[live(5), live(3)]], None),
    ];
    for (last, nodes, expected) in table {
        let stream = stream_of(*last, nodes);
        let found = stream.as_ref().map(|stream| stream.iter().map(|entry| entry.id.ms).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), *expected, "{nodes:?}");
        let Some(mut stream) = stream else { continue };
        let mut model: Model = stream.iter().map(owned).collect();
        check(&stream, &model);
        let next = stream.header().last_id.next().expect("far from the end");
        stream.add(next, &[[b"f", b"v"]], limits);
        model.insert(next, vec![(b"f".to_vec(), b"v".to_vec())]);
        check(&stream, &model);
        assert!(stream.delete(next), "{nodes:?}");
    }
}
