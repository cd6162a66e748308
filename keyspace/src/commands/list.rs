//! The list commands.

use resp::{Encoder, number};

use super::flags::{BLOCKING, DENYOOM, FAST, READ, WRITE};
use super::timeout::parse_timeout;
use super::{DataSpec, Done, count_from, integer, keys, signed, spec};
use crate::types::list::{ChunkLimit, End, List};
use crate::types::listpack::Element;
use crate::{Block, CommandError, Ctx, Str, Value, ValueRef};

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[DataSpec] = &[
    spec("lpush",      lpush,      -3, WRITE | DENYOOM | FAST,                keys::ADD,                         "1.0.0", "Puts elements in front of a list, one after the other, and makes the list if need be."),
    spec("rpush",      rpush,      -3, WRITE | DENYOOM | FAST,                keys::ADD,                         "1.0.0", "Appends elements to a list, and makes the list if need be."),
    spec("lpushx",     lpushx,     -3, WRITE | DENYOOM | FAST,                keys::ADD,                         "2.2.0", "Puts elements in front of a list that is there."),
    spec("rpushx",     rpushx,     -3, WRITE | DENYOOM | FAST,                keys::ADD,                         "2.2.0", "Appends elements to a list that is there."),
    spec("lpop",       lpop,       -2, WRITE | FAST,                          keys::TAKE,                        "1.0.0", "Removes and returns the first element, or several."),
    spec("rpop",       rpop,       -2, WRITE | FAST,                          keys::TAKE,                        "1.0.0", "Removes and returns the last element, or several."),
    spec("llen",       llen,       2,  READ | FAST,                           keys::LOOK,                        "1.0.0", "Returns the number of elements."),
    spec("lrange",     lrange,     4,  READ,                                  keys::READ_KEY,                    "1.0.0", "Returns the elements between two indices."),
    spec("lindex",     lindex,     3,  READ,                                  keys::READ_KEY,                    "1.0.0", "Returns the element at an index."),
    spec("lset",       lset,       4,  WRITE | DENYOOM,                       keys::UPDATE_KEY,                  "1.0.0", "Replaces the element at an index."),
    spec("linsert",    linsert,    5,  WRITE | DENYOOM,                       keys::ADD,                         "2.2.0", "Puts an element before or after another."),
    spec("lrem",       lrem,       4,  WRITE,                                 keys::REMOVE,                      "1.0.0", "Removes elements that are equal to one."),
    spec("ltrim",      ltrim,      4,  WRITE,                                 keys::REMOVE,                      "1.0.0", "Removes what is not between two indices."),
    spec("lpos",       lpos,       -3, READ,                                  keys::READ_KEY,                    "6.0.6", "Finds where elements that are equal to one stand."),
    spec("lmove",      lmove,      5,  WRITE | DENYOOM,                       keys::MOVE,                        "6.2.0", "Moves an element from an end of a list to an end of another, and returns it."),
    spec("rpoplpush",  rpoplpush,  3,  WRITE | DENYOOM,                       keys::MOVE,                        "1.2.0", "Moves the last element of a list to the front of another, and returns it."),
    spec("lmpop",      lmpop,      -4, WRITE,                  keys::TAKE_COUNTED,                "7.0.0", "Removes and returns elements of the first list that has any."),
    spec("blpop",      blpop,      -3, WRITE | BLOCKING,                      keys::TAKE_BEFORE_TIMEOUT,         "2.0.0", "Removes and returns the first element of the first list that has any, or waits for one."),
    spec("brpop",      brpop,      -3, WRITE | BLOCKING,                      keys::TAKE_BEFORE_TIMEOUT,         "2.0.0", "Removes and returns the last element of the first list that has any, or waits for one."),
    spec("blmove",     blmove,     6,  WRITE | DENYOOM | BLOCKING,            keys::MOVE,                        "6.2.0", "As LMOVE, or waits for an element."),
    spec("brpoplpush", brpoplpush, 4,  WRITE | DENYOOM | BLOCKING,            keys::MOVE,                        "2.2.0", "As RPOPLPUSH, or waits for an element."),
    spec("blmpop",     blmpop,     -5, WRITE | BLOCKING,       keys::TAKE_COUNTED_BEHIND_TIMEOUT, "7.0.0", "As LMPOP, or waits for an element."),
];

fn lpush(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    push(ctx, argv, End::Left, true, out)
}

fn rpush(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    push(ctx, argv, End::Right, true, out)
}

fn lpushx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    push(ctx, argv, End::Left, false, out)
}

fn rpushx(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    push(ctx, argv, End::Right, false, out)
}

fn push(ctx: &mut Ctx<'_>, argv: &[&[u8]], end: End, create: bool, out: &mut Encoder<'_>) -> Done {
    let (key, elements) = (argv[1], &argv[2..]);
    let limit = ChunkLimit::of(ctx.limits());
    let len = match list_mut(ctx, key)? {
        Some(list) => {
            push_all(list, elements, end, limit);
            list.len()
        }
        None if create => {
            let mut list = List::new();
            push_all(&mut list, elements, end, limit);
            ctx.set(key, Value::List(list));
            elements.len()
        }
        None => {
            out.integer(0);
            return Ok(());
        }
    };
    ctx.changed(key, 'l', push_event(end), elements.len());
    out.count(len);
    Ok(())
}

fn push_all(list: &mut List, elements: &[&[u8]], end: End, limit: ChunkLimit) {
    list.make_room(elements, limit);
    for element in elements {
        list.push(end, element, limit);
    }
}

fn lpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop(ctx, argv, End::Left, "lpop", out)
}

fn rpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    pop(ctx, argv, End::Right, "rpop", out)
}

fn pop(ctx: &mut Ctx<'_>, argv: &[&[u8]], end: End, command: &'static str, out: &mut Encoder<'_>) -> Done {
    let key = argv[1];
    let count = match argv[2..] {
        [] => None,
        [count] => Some(count_from(0, count, "ERR value is out of range, must be positive")?),
        _ => return Err(CommandError::Arity(command.into())),
    };
    match (peek_list(ctx, key)?, count) {
        (None, None) => out.null(),
        (None, Some(_)) => out.null_array(),
        (Some(_), Some(0)) => out.array(0),
        (Some(list), Some(count)) => {
            let count = write_end(list, end, count, out);
            remove_from(ctx, key, end, count)?;
        }
        (Some(list), None) => {
            write_first(list, end, out);
            remove_from(ctx, key, end, 1)?;
        }
    }
    Ok(())
}

fn llen(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    out.count(list(ctx, argv[1])?.map_or(0, List::len));
    Ok(())
}

fn lrange(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (start, end) = (integer(argv[2])?, integer(argv[3])?);
    match list(ctx, argv[1])? {
        Some(list) => {
            let range = range(start, end, list.len());
            out.array(range.len());
            for element in list.iter_from(range.start).take(range.len()) {
                write_element(element, out);
            }
        }
        None => out.array(0),
    }
    Ok(())
}

fn lindex(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let Some(list) = list(ctx, argv[1])? else {
        out.null();
        return Ok(());
    };
    match place(integer(argv[2])?, list.len()).and_then(|index| list.get(index)) {
        Some(element) => write_element(element, out),
        None => out.null(),
    }
    Ok(())
}

fn lset(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, element) = (argv[1], argv[3]);
    let limit = ChunkLimit::of(ctx.limits());
    let list = list_mut(ctx, key)?.ok_or(CommandError::NoSuchKey)?;
    let index = place(integer(argv[2])?, list.len()).filter(|&index| index < list.len());
    let index = index.ok_or(CommandError::IndexOutOfRange)?;
    list.make_room(&[element], limit);
    list.set(index, element, limit);
    list.shrink(limit);
    ctx.changed(key, 'l', "lset", 1);
    out.ok();
    Ok(())
}

fn linsert(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, pivot, element) = (argv[1], argv[3], argv[4]);
    let side = match &argv[2].to_ascii_lowercase()[..] {
        b"before" => End::Left,
        b"after" => End::Right,
        _ => return Err(CommandError::Syntax),
    };
    let limit = ChunkLimit::of(ctx.limits());
    let Some(found) = peek_list(ctx, key)?.map(|list| list.iter().position(|element| element.is(pivot)))
    else {
        out.integer(0);
        return Ok(());
    };
    match (found, list_mut(ctx, key)?) {
        (Some(index), Some(list)) => {
            list.make_room(&[element], limit);
            list.insert(index, side, element, limit);
            out.count(list.len());
            ctx.changed(key, 'l', "linsert", 1);
        }
        _ => out.integer(-1),
    }
    Ok(())
}

fn lrem(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, count, element) = (argv[1], integer(argv[2])?, argv[3]);
    let limit = ChunkLimit::of(ctx.limits());
    let from = if count < 0 { End::Right } else { End::Left };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let Some(list) = list_mut(ctx, key)? else {
        out.integer(0);
        return Ok(());
    };
    let removed = list.remove_equal(element, max, from);
    let empty = list.is_empty();
    if removed > 0 {
        list.shrink(limit);
        ctx.changed(key, 'l', "lrem", removed);
    }
    if empty {
        ctx.delete_empty(key);
    }
    out.count(removed);
    Ok(())
}

fn ltrim(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, start, end) = (argv[1], integer(argv[2])?, integer(argv[3])?);
    let limit = ChunkLimit::of(ctx.limits());
    if let Some(list) = list_mut(ctx, key)? {
        let len = list.len();
        let kept = range(start, end, len);
        list.remove(kept.end, len - kept.end);
        list.remove(0, kept.start);
        list.shrink(limit);
        ctx.changed(key, 'l', "ltrim", len - kept.len());
        if kept.is_empty() {
            ctx.delete_empty(key);
        }
    }
    out.ok();
    Ok(())
}

fn lpos(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (key, wanted) = (argv[1], argv[2]);
    let options = PosOptions::parse(&argv[3..])?;
    let Some(list) = list(ctx, key)? else {
        match options.count {
            Some(_) => out.array(0),
            None => out.null(),
        }
        return Ok(());
    };
    let mut found = options.find(list, wanted);
    match options.count {
        Some(0) => out.counted_array(|out| found.map(|index| out.count(index)).count()),
        Some(count) => out.counted_array(|out| found.take(count).map(|index| out.count(index)).count()),
        None => match found.next() {
            Some(index) => out.count(index),
            None => out.null(),
        },
    }
    Ok(())
}

/// LPOS's options.
#[derive(Debug)]
struct PosOptions {
    from: End,
    /// Matches passed over.
    skip: usize,
    count: Option<usize>,
    /// Elements looked at; 0: all.
    max_len: usize,
}

impl PosOptions {
    fn parse(words: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = PosOptions { from: End::Left, skip: 0, count: None, max_len: 0 };
        let (pairs, rest) = words.as_chunks();
        for [name, value] in pairs {
            match &name.to_ascii_lowercase()[..] {
                b"rank" => options.set_rank(value)?,
                b"count" => options.count = Some(count_from(0, value, "ERR COUNT can't be negative")?),
                b"maxlen" => options.max_len = count_from(0, value, "ERR MAXLEN can't be negative")?,
                _ => return Err(CommandError::Syntax),
            }
        }
        if rest.is_empty() { Ok(options) } else { Err(CommandError::Syntax) }
    }

    fn set_rank(&mut self, value: &[u8]) -> Done {
        let rank = signed(value)?;
        if rank == 0 {
            return Err(CommandError::other(
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
            ));
        }
        self.from = if rank < 0 { End::Right } else { End::Left };
        self.skip = rank.unsigned_abs() as usize - 1;
        Ok(())
    }

    /// The indices of elements equal to `wanted`, in the order in which they are found.
    fn find<'a>(&self, list: &'a List, wanted: &'a [u8]) -> impl Iterator<Item = usize> + use<'a> {
        let (len, from) = (list.len(), self.from);
        let looked_at = if self.max_len == 0 { len } else { self.max_len };
        let elements = match from {
            End::Left => list.iter(),
            End::Right => list.iter_back_from(len - 1),
        };
        let matches = elements.take(looked_at).enumerate().filter(move |(_, element)| element.is(wanted));
        let index = move |(at, _)| if from == End::Left { at } else { len - 1 - at };
        matches.skip(self.skip).map(index)
    }
}

fn lmove(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (from, to) = (end(argv[3])?, end(argv[4])?);
    if !move_element(ctx, [argv[1], argv[2]], from, to, out)? {
        out.null();
    }
    Ok(())
}

fn rpoplpush(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    if !move_element(ctx, [argv[1], argv[2]], End::Right, End::Left, out)? {
        out.null();
    }
    Ok(())
}

/// Moves an element between lists, or within one; false if the source is not there.
fn move_element(
    ctx: &mut Ctx<'_>,
    [source, destination]: [&[u8]; 2],
    from: End,
    to: End,
    out: &mut Encoder<'_>,
) -> Result<bool, CommandError> {
    let limit = ChunkLimit::of(ctx.limits());
    let Some(element) =
        peek_list(ctx, source)?.and_then(|list| first(list, from)).map(|element| element.to_str())
    else {
        return Ok(false);
    };
    peek_list(ctx, destination)?;
    if source != destination {
        push_or_create(ctx, destination, &element, to, limit)?;
    } else if let Some(list) = list_mut(ctx, source)? {
        // Turned round in place: the list is never empty in between.
        let index = if from == End::Left { 0 } else { list.len() - 1 };
        list.remove(index, 1);
        push_all(list, &[&element], to, limit);
        list.shrink(limit);
    }
    ctx.changed(destination, 'l', push_event(to), 0);
    if source != destination {
        remove_from(ctx, source, from, 1)?;
    } else {
        ctx.changed(source, 'l', pop_event(from), 1);
    }
    out.bulk(&element);
    Ok(true)
}

fn push_or_create(ctx: &mut Ctx<'_>, key: &[u8], element: &[u8], end: End, limit: ChunkLimit) -> Done {
    if let Some(list) = list_mut(ctx, key)? {
        push_all(list, &[element], end, limit);
        return Ok(());
    }
    let mut list = List::new();
    push_all(&mut list, &[element], end, limit);
    ctx.set(key, Value::List(list));
    Ok(())
}

fn lmpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = MultiPop::parse(&argv[1..])?;
    if !request.serve(ctx, out)? {
        out.null_array();
    }
    Ok(())
}

/// What LMPOP and BLMPOP ask for.
#[derive(Debug)]
struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads `numkeys key [key ...] LEFT|RIGHT [COUNT count]`.
    fn parse(words: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let numkeys = count_from(1, words[0], "ERR numkeys should be greater than 0")?;
        let (keys, rest) = words[1..].split_at_checked(numkeys).ok_or(CommandError::Syntax)?;
        let (side, options) = rest.split_first().ok_or(CommandError::Syntax)?;
        let end = end(side)?;
        let count = match options {
            [] => 1,
            [name, count, rest @ ..] if name.eq_ignore_ascii_case(b"count") => {
                let count = count_from(1, count, "ERR count should be greater than 0")?;
                if !rest.is_empty() {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        Ok(MultiPop { keys, end, count })
    }

    /// Pops from the first list that is there; false if there is none.
    fn serve(&self, ctx: &mut Ctx<'_>, out: &mut Encoder<'_>) -> Result<bool, CommandError> {
        for key in self.keys {
            let Some(list) = peek_list(ctx, key)? else { continue };
            out.array(2);
            out.bulk(key);
            let count = write_end(list, self.end, self.count, out);
            remove_from(ctx, key, self.end, count)?;
            ctx.propagate(&[pop_command(self.end), key, number::format_i64(count as i64).as_bytes()]);
            return Ok(true);
        }
        Ok(false)
    }
}

fn blpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    blocking_pop(ctx, argv, End::Left, out)
}

fn brpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    blocking_pop(ctx, argv, End::Right, out)
}

fn blocking_pop(ctx: &mut Ctx<'_>, argv: &[&[u8]], end: End, out: &mut Encoder<'_>) -> Done {
    let (keys, timeout) = (&argv[1..argv.len() - 1], argv[argv.len() - 1]);
    let timeout_ms = parse_timeout(timeout, ctx.now_ms)?;
    for key in keys {
        let Some(list) = peek_list(ctx, key)? else { continue };
        out.array(2);
        out.bulk(key);
        write_first(list, end, out);
        remove_from(ctx, key, end, 1)?;
        ctx.propagate(&[pop_command(end), key]);
        return Ok(());
    }
    wait(ctx, keys, timeout_ms, true, out);
    Ok(())
}

fn blmove(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let (from, to) = (end(argv[3])?, end(argv[4])?);
    let timeout_ms = parse_timeout(argv[5], ctx.now_ms)?;
    if move_element(ctx, [argv[1], argv[2]], from, to, out)? {
        ctx.propagate(&[b"LMOVE", argv[1], argv[2], argv[3], argv[4]]);
    } else {
        wait(ctx, &argv[1..2], timeout_ms, false, out);
    }
    Ok(())
}

fn brpoplpush(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let timeout_ms = parse_timeout(argv[3], ctx.now_ms)?;
    if move_element(ctx, [argv[1], argv[2]], End::Right, End::Left, out)? {
        ctx.propagate(&[b"RPOPLPUSH", argv[1], argv[2]]);
    } else {
        wait(ctx, &argv[1..2], timeout_ms, false, out);
    }
    Ok(())
}

fn blmpop(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let request = MultiPop::parse(&argv[2..])?;
    let timeout_ms = parse_timeout(argv[1], ctx.now_ms)?;
    if !request.serve(ctx, out)? {
        wait(ctx, request.keys, timeout_ms, true, out);
    }
    Ok(())
}

// What several of them need.

/// Parks the client until one of the keys holds a list, or answers at once as if the time were over.
fn wait(ctx: &mut Ctx<'_>, keys: &[&[u8]], timeout_ms: Option<u64>, null_array: bool, out: &mut Encoder<'_>) {
    let keys = keys.iter().map(|&key| Str::from(key)).collect();
    if ctx.block(Block { keys, timeout_ms, type_name: "list", wakes_without_it: false, again: None }) {
        return;
    }
    if null_array {
        out.null_array();
    } else {
        out.null();
    }
}

fn list<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a List>, CommandError> {
    match ctx.read(key) {
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// As [`list`], for a command that may write: no hit and no miss is counted.
fn peek_list<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a List>, CommandError> {
    match ctx.lookup_write(key) {
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

fn list_mut<'a>(ctx: &'a mut Ctx<'_>, key: &[u8]) -> Result<Option<&'a mut List>, CommandError> {
    match ctx.write(key)? {
        Some(Value::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

/// Removes elements at an end of a list that is there, and the key with the last of them.
fn remove_from(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) -> Done {
    let limit = ChunkLimit::of(ctx.limits());
    let Some(list) = list_mut(ctx, key)? else { return Ok(()) };
    let start = if end == End::Left { 0 } else { list.len() - count };
    list.remove(start, count);
    list.shrink(limit);
    let empty = list.is_empty();
    ctx.changed(key, 'l', pop_event(end), count);
    if empty {
        ctx.delete_empty(key);
    }
    Ok(())
}

fn first(list: &List, end: End) -> Option<Element<'_>> {
    list.get(if end == End::Left { 0 } else { list.len() - 1 })
}

fn write_first(list: &List, end: End, out: &mut Encoder<'_>) {
    if let Some(element) = first(list, end) {
        write_element(element, out);
    }
}

/// Writes up to `count` elements from an end on as an array; returns how many they are.
fn write_end(list: &List, end: End, count: usize, out: &mut Encoder<'_>) -> usize {
    let count = count.min(list.len());
    out.array(count);
    let elements = match end {
        End::Left => list.iter(),
        End::Right => list.iter_back_from(list.len() - 1),
    };
    elements.take(count).for_each(|element| write_element(element, out));
    count
}

#[inline]
fn write_element(element: Element<'_>, out: &mut Encoder<'_>) {
    match element {
        Element::Int(integer) => out.bulk_integer(integer),
        Element::Bytes(bytes) => out.bulk(bytes),
    }
}

fn push_event(end: End) -> &'static str {
    if end == End::Left { "lpush" } else { "rpush" }
}

fn pop_event(end: End) -> &'static str {
    if end == End::Left { "lpop" } else { "rpop" }
}

fn pop_command(end: End) -> &'static [u8] {
    if end == End::Left { b"LPOP" } else { b"RPOP" }
}

fn end(word: &[u8]) -> Result<End, CommandError> {
    match &word.to_ascii_lowercase()[..] {
        b"left" => Ok(End::Left),
        b"right" => Ok(End::Right),
        _ => Err(CommandError::Syntax),
    }
}

/// An index counted from the end if it is negative. `None`: before the first element.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.saturating_add(len as i64) } else { index };
    usize::try_from(index).ok()
}

/// The indices from `start` to `end`, both included; empty (at 0) if there are none.
fn range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let start = place(start, len).unwrap_or(0);
    let end = place(end, len).map_or(0, |end| end.saturating_add(1).min(len));
    if start < end { start..end } else { 0..0 }
}
