//! Unions, intersections and differences, of sorted sets and of plain sets, whose members all score 1.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use resp::{Encoder, number};

use super::super::set::is_cheaper_to_subtract;
use super::{Done, store, write_members};
use crate::commands::{count_from, integer};
use crate::types::listpack::Element;
use crate::types::zset::Scored;
use crate::{CommandError, Ctx, Value};

/// What is made of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    List,
    Count,
    Store,
}

/// How two scores become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn combine(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs cancel out.
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set or a sorted set, or a key that is not there. It shares the value.
#[derive(Debug)]
struct Input {
    value: Option<Value>,
    weight: f64,
}

impl Input {
    fn read(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Self, CommandError> {
        match ctx.read_value(key) {
            value @ (None | Some(Value::Set(_) | Value::ZSet(_))) => Ok(Input { value, weight: 1.0 }),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match &self.value {
            Some(Value::Set(set)) => set.len(),
            Some(Value::ZSet(zset)) => zset.len(),
            _ => 0,
        }
    }

    /// A member's score, times the weight.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match &self.value {
            Some(Value::Set(set)) => set.contains(member).then_some(1.0),
            Some(Value::ZSet(zset)) => zset.score(member),
            _ => None,
        };
        score.map(|score| score * self.weight)
    }

    /// The members with their scores, times the weight.
    fn members(&self) -> impl Iterator<Item = (Element<'_>, f64)> {
        let set = match &self.value {
            Some(Value::Set(set)) => Some(set.iter().map(|member| (member, 1.0))),
            _ => None,
        };
        let zset = match &self.value {
            Some(Value::ZSet(zset)) => Some(zset.iter()),
            _ => None,
        };
        let members = set.into_iter().flatten().chain(zset.into_iter().flatten());
        members.map(|(member, score)| (member, not_nan(score * self.weight)))
    }
}

/// A request, from the number of keys on.
struct Request {
    inputs: Vec<Input>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Where ZINTERCARD stops counting.
    limit: usize,
}

impl Request {
    /// Reads the inputs and then the options, in which order Redis refuses.
    fn parse(
        ctx: &mut Ctx<'_>,
        command: &str,
        words: &[&[u8]],
        operation: Operation,
        output: Output,
    ) -> Result<Self, CommandError> {
        let [numkeys, words @ ..] = words else { return Err(CommandError::Syntax) };
        let numkeys = integer(numkeys)?;
        if numkeys < 1 {
            return Err(CommandError::other(format!(
                "ERR at least 1 input key is needed for '{command}' command"
            )));
        }
        let numkeys = usize::try_from(numkeys).map_err(|_| CommandError::Syntax)?;
        let (keys, mut options) = words.split_at_checked(numkeys).ok_or(CommandError::Syntax)?;
        let inputs = keys.iter().map(|key| Input::read(ctx, key)).collect::<Result<_, _>>()?;
        let mut request =
            Request { inputs, aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
        let merges = operation != Operation::Diff && output != Output::Count;
        while let [option, rest @ ..] = options {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            options = if merges && is("weights") && rest.len() >= numkeys {
                request.parse_weights(rest)?
            } else if merges && is("aggregate") && !rest.is_empty() {
                request.parse_aggregate(rest)?
            } else if output == Output::List && is("withscores") {
                request.with_scores = true;
                rest
            } else if output == Output::Count && is("limit") && !rest.is_empty() {
                request.parse_limit(rest)?
            } else {
                return Err(CommandError::Syntax);
            };
        }
        Ok(request)
    }

    fn parse_weights<'w, 'a>(&mut self, words: &'w [&'a [u8]]) -> Result<&'w [&'a [u8]], CommandError> {
        let (weights, rest) = words.split_at(self.inputs.len());
        for (input, weight) in self.inputs.iter_mut().zip(weights) {
            input.weight =
                number::parse_f64(weight).ok_or(CommandError::other("ERR weight value is not a float"))?;
        }
        Ok(rest)
    }

    fn parse_aggregate<'w, 'a>(&mut self, words: &'w [&'a [u8]]) -> Result<&'w [&'a [u8]], CommandError> {
        const NAMES: [(&[u8], Aggregate); 3] =
            [(b"sum", Aggregate::Sum), (b"min", Aggregate::Min), (b"max", Aggregate::Max)];
        let found = NAMES.into_iter().find(|(name, _)| words[0].eq_ignore_ascii_case(name));
        self.aggregate = found.ok_or(CommandError::Syntax)?.1;
        Ok(&words[1..])
    }

    fn parse_limit<'w, 'a>(&mut self, words: &'w [&'a [u8]]) -> Result<&'w [&'a [u8]], CommandError> {
        let limit = count_from(0, words[0], "ERR LIMIT can't be negative")?;
        self.limit = if limit == 0 { usize::MAX } else { limit };
        Ok(&words[1..])
    }

    fn result(&mut self, ctx: &Ctx<'_>, operation: Operation) -> Vec<Scored> {
        match operation {
            Operation::Union => self.union(ctx),
            Operation::Inter => {
                self.smallest_first();
                let scored = |(member, score): (Element<'_>, f64)| Scored { score, member: member.to_str() };
                self.inter().map(scored).collect()
            }
            Operation::Diff if is_cheaper_to_subtract(self.inputs.iter().map(Input::len)) => {
                self.remainder(ctx)
            }
            Operation::Diff => self.diff(),
        }
    }

    fn smallest_first(&mut self) {
        self.inputs.sort_by_key(Input::len);
    }

    fn union(&mut self, ctx: &Ctx<'_>) -> Vec<Scored> {
        // Sums of floats depend on the order: it is Redis's.
        self.smallest_first();
        let seed = ctx.seed();
        let hash = |scored: &Scored| seed.hash(&scored.member);
        let mut found = HashTable::new();
        for (member, score) in self.inputs.iter().flat_map(Input::members) {
            member.with_bytes(|member| {
                match found.entry(seed.hash(member), |scored: &Scored| scored.member[..] == *member, hash) {
                    Entry::Occupied(mut entry) => {
                        let scored = entry.get_mut();
                        scored.score = self.aggregate.combine(scored.score, score);
                    }
                    Entry::Vacant(entry) => _ = entry.insert(Scored { score, member: member.into() }),
                }
            });
        }
        found.into_iter().collect()
    }

    /// The members that all inputs have; the first input must be the smallest.
    fn inter(&self) -> impl Iterator<Item = (Element<'_>, f64)> {
        let (first, others) = match self.inputs.split_first() {
            Some((first, others)) => (Some(first), others),
            None => (None, &[][..]),
        };
        first.into_iter().flat_map(Input::members).filter_map(|(member, score)| {
            let score = member.with_bytes(|bytes| {
                others
                    .iter()
                    .try_fold(score, |score, other| Some(self.aggregate.combine(score, other.score(bytes)?)))
            })?;
            Some((member, score))
        })
    }

    /// As [`diff`](Self::diff), by taking the others' members from a copy.
    fn remainder(&self, ctx: &Ctx<'_>) -> Vec<Scored> {
        let Some((first, others)) = self.inputs.split_first() else { return Vec::new() };
        let seed = ctx.seed();
        let hash = |scored: &Scored| seed.hash(&scored.member);
        let mut left = HashTable::with_capacity(first.len());
        for (member, score) in first.members() {
            let scored = Scored { score, member: member.to_str() };
            left.insert_unique(hash(&scored), scored, hash);
        }
        for (member, _) in others.iter().flat_map(Input::members) {
            if left.is_empty() {
                break;
            }
            member.with_bytes(|member| {
                if let Ok(entry) = left.find_entry(seed.hash(member), |scored| scored.member[..] == *member) {
                    entry.remove();
                }
            });
        }
        left.into_iter().collect()
    }

    fn diff(&self) -> Vec<Scored> {
        let Some((first, others)) = self.inputs.split_first() else { return Vec::new() };
        let is_left = |member: Element<'_>| {
            member.with_bytes(|bytes| others.iter().all(|other| other.score(bytes).is_none()))
        };
        let left = first.members().filter(|&(member, _)| is_left(member));
        left.map(|(member, score)| Scored { score, member: member.to_str() }).collect()
    }
}

fn list(
    ctx: &mut Ctx<'_>,
    argv: &[&[u8]],
    command: &str,
    operation: Operation,
    out: &mut Encoder<'_>,
) -> Done {
    let mut request = Request::parse(ctx, command, &argv[1..], operation, Output::List)?;
    let mut members = request.result(ctx, operation);
    members.sort_unstable_by(Scored::compare);
    let members = members.iter().map(|scored| (Element::Bytes(&scored.member), scored.score));
    write_members(out, members, request.with_scores);
    Ok(())
}

fn store_result(
    ctx: &mut Ctx<'_>,
    argv: &[&[u8]],
    event: &'static str,
    operation: Operation,
    out: &mut Encoder<'_>,
) -> Done {
    let mut request = Request::parse(ctx, event, &argv[2..], operation, Output::Store)?;
    let members = request.result(ctx, operation);
    drop(request);
    store(ctx, argv[1], members, event, out)
}

pub(super) fn zunion(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, "zunion", Operation::Union, out)
}

pub(super) fn zinter(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, "zinter", Operation::Inter, out)
}

pub(super) fn zdiff(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    list(ctx, argv, "zdiff", Operation::Diff, out)
}

pub(super) fn zunionstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    store_result(ctx, argv, "zunionstore", Operation::Union, out)
}

pub(super) fn zinterstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    store_result(ctx, argv, "zinterstore", Operation::Inter, out)
}

pub(super) fn zdiffstore(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    store_result(ctx, argv, "zdiffstore", Operation::Diff, out)
}

pub(super) fn zintercard(ctx: &mut Ctx<'_>, argv: &[&[u8]], out: &mut Encoder<'_>) -> Done {
    let mut request = Request::parse(ctx, "zintercard", &argv[1..], Operation::Inter, Output::Count)?;
    request.smallest_first();
    out.count(request.inter().take(request.limit).count());
    Ok(())
}
