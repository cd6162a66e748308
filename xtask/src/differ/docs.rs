//! COMMAND DOCS: what ours says of each command that redis-server 7.0.15 has, too, field by field, in both protocols.
//!
//! Types are compared, and contents, but sentences only by the facts in them: of a complexity its formulas, which must be
//! among theirs; of `replaced_by` what stands between backticks; of a history the versions; of a summary nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Chance, Connection};
use crate::server::{Server, free_port, redis_and_valkey};

/// What differs and must: the command, the field. 7.2 has other arguments of COMMAND GETKEYS, added WITHSCORE to ZRANK,
/// advises against QUIT and the old forms of SET, and counts no version between 2.8 and 3.0.
const MEANT: &[(&str, &str)] = &[
    ("client|pause", "since"),
    ("command|getkeys", "arguments"),
    ("command|getkeysandflags", "arguments"),
    ("psetex", "deprecated_since"),
    ("psetex", "doc_flags"),
    ("psetex", "replaced_by"),
    ("quit", "deprecated_since"),
    ("quit", "doc_flags"),
    ("quit", "replaced_by"),
    ("setex", "deprecated_since"),
    ("setex", "doc_flags"),
    ("setex", "replaced_by"),
    ("setnx", "deprecated_since"),
    ("setnx", "doc_flags"),
    ("setnx", "replaced_by"),
    ("zrank", "arguments"),
    ("zrank", "history"),
    ("zrevrank", "arguments"),
    ("zrevrank", "history"),
];

/// Names what differs and is not meant to, and what is meant to and does not.
pub(super) fn compare(ours: &Path, dir: &Path, _: &mut Chance) -> Result<()> {
    let [redis, _] = redis_and_valkey()?;
    let start =
        |name: &str, program| Server::start(program, &dir.join(format!("docs-{name}")), free_port(), &[]);
    let servers = [start("ours", ours)?, start("redis", &redis.program)?];
    for (protocol, resp3) in [("RESP2", false), ("RESP3", true)] {
        let [ours, theirs] = servers.each_ref().map(|server| documents(server, resp3));
        let (ours, theirs) = (ours?, theirs?);
        let common = ours.iter().filter_map(|(command, own)| Some((command, own, theirs.get(command)?)));
        let common: Vec<_> = common.collect();
        let differences: Vec<String> =
            common.iter().flat_map(|(command, own, other)| differences(command, own, other)).collect();
        ensure!(differences.is_empty(), "{protocol}, ours above theirs:\n  {}", differences.join("\n  "));
        println!("docs: {} compared with redis in {protocol}", common.len());
    }
    Ok(())
}

/// What is said of a command, by field.
type Document = BTreeMap<String, Reply>;

fn differences(command: &str, own: &Document, other: &Document) -> Vec<String> {
    let fields: BTreeSet<&String> = own.keys().chain(other.keys()).collect();
    let is_wrong = |field: &&String| {
        let is_same = match (own.get(*field), other.get(*field)) {
            (Some(own), Some(other)) => own.kind == other.kind && is_same(field, own, other),
            _ => false,
        };
        is_same == MEANT.contains(&(command, field.as_str()))
    };
    let show = |document: &Document, field: &String| document.get(field).map_or("-".into(), Reply::shown);
    let shown =
        |field: &String| format!("{command}, {field}:\n    {}\n    {}", show(own, field), show(other, field));
    fields.into_iter().filter(is_wrong).map(shown).collect()
}

fn is_same(field: &str, own: &Reply, other: &Reply) -> bool {
    match field {
        "summary" => !own.text.is_empty(),
        "complexity" => {
            let [own, other] = [own, other].map(|reply| formulas(&reply.text));
            own.is_subset(&other) && own.is_empty() == other.is_empty()
        }
        "replaced_by" => quoted(&own.text) == quoted(&other.text),
        "history" => own.versions() == other.versions(),
        _ => own == other,
    }
}

/// `O(...)`, each to its closing parenthesis.
fn formulas(text: &str) -> BTreeSet<&str> {
    let formula = |(at, _): (usize, &str)| {
        let mut depth = 0;
        let end = text[at..].find(|next: char| {
            depth += i32::from(next == '(') - i32::from(next == ')');
            next == ')' && depth == 0
        });
        &text[at..end.map_or(text.len(), |end| at + end + 1)]
    };
    text.match_indices("O(").map(formula).collect()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn documents(server: &Server, resp3: bool) -> Result<BTreeMap<String, Document>> {
    let bytes = Connection::open(server.port(), resp3)?.ask(&["COMMAND", "DOCS"])?;
    let mut commands = Reply::read(&mut &bytes[..])?.into_pairs();
    let mut documents = BTreeMap::new();
    while let Some((command, document)) = commands.pop() {
        let mut document: Document = document.into_pairs().into_iter().collect();
        if let Some(subcommands) = document.get_mut("subcommands") {
            let kind = subcommands.kind;
            commands.extend(std::mem::replace(subcommands, Reply { kind, ..Reply::default() }).into_pairs());
        }
        documents.insert(command, document);
    }
    Ok(documents)
}

/// A reply with its type.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Reply {
    kind: u8,
    text: String,
    items: Vec<Reply>,
}

impl Reply {
    fn read(input: &mut impl BufRead) -> Result<Self> {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).context("an empty line")?;
        let kind = kind.as_bytes()[0];
        let mut reply = Reply { kind, ..Reply::default() };
        match kind {
            b'+' | b':' => reply.text = rest.into(),
            b'$' => {
                let len = rest.parse::<u64>()? + 2;
                input.take(len).read_to_string(&mut reply.text)?;
                reply.text.truncate(reply.text.trim_end().len());
            }
            b'*' | b'~' | b'%' => {
                let count = rest.parse::<usize>()? * if kind == b'%' { 2 } else { 1 };
                reply.items = (0..count).map(|_| Reply::read(input)).collect::<Result<_>>()?;
            }
            other => bail!("a reply of type {:?}", char::from(other)),
        }
        Ok(reply)
    }

    fn into_pairs(self) -> Vec<(String, Reply)> {
        self.items.as_chunks::<2>().0.iter().map(|[name, value]| (name.text.clone(), value.clone())).collect()
    }

    fn versions(&self) -> BTreeSet<&str> {
        self.items.iter().filter_map(|entry| Some(&entry.items.first()?.text[..])).collect()
    }

    fn shown(&self) -> String {
        let items: Vec<String> = self.items.iter().map(Reply::shown).collect();
        let items = if items.is_empty() { String::new() } else { format!("({})", items.join(" ")) };
        format!("{}{}{items}", char::from(self.kind), self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Reply, formulas, is_same, quoted};

    #[test]
    fn sentences_are_compared_by_their_facts() {
        let text = |text: &str| Reply { kind: b'$', text: text.into(), items: Vec::new() };
        let is_same = |field, own, other| is_same(field, &text(own), &text(other));
        assert_eq!(formulas("O(N*log(M)) and O(1), N"), BTreeSet::from(["O(N*log(M))", "O(1)"]));
        assert_eq!(quoted("`A` with `B`"), ["A", "B"]);
        assert!(is_same("complexity", "O(N), N keys", "O(1) for one, O(N) for N"));
        assert!(!is_same("complexity", "O(N*M)", "O(N)") && !is_same("complexity", "", "O(N)"));
        assert!(
            is_same("replaced_by", "`A` and `B`", "`A`, or `B`") && !is_same("replaced_by", "`A`", "`B`")
        );
        assert!(!is_same("since", "1.0.0", "1.0.1") && !is_same("summary", "", "It does."));
    }

    #[test]
    fn a_reply_keeps_its_types() {
        let shown = |mut bytes: &[u8]| Reply::read(&mut bytes).map(|reply| reply.shown());
        assert_eq!(shown(b"%1\r\n$1\r\na\r\n~2\r\n:1\r\n+b c\r\n").unwrap(), "%($a ~(:1 +b c))");
        assert_eq!(shown(b"*2\r\n$0\r\n\r\n*0\r\n").unwrap(), "*($ *)");
        assert!(shown(b"*2\r\n:1\r\n").is_err() && shown(b"-ERR\r\n").is_err());
    }
}
