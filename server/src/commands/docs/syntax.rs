//! THE SYNTAX of a command's arguments: the notation of Redis's documentation, and what COMMAND DOCS says beyond it.
//!
//! ```text
//! key value condition[NX|XX]+2.6.12 [GET]+6.2.0 expiration[EX seconds|EXAT unix-time-seconds|KEEPTTL+6.0.0]
//! ```
//!
//! | written | means |
//! |---|---|
//! | `seconds` | a value of that name, of the type that [`TYPES`] gives to the name, or else a string |
//! | `start=string` | a value of another type than its name has |
//! | `NX` | a token, which is a word without lower-case letters; its argument has the same name in lower case |
//! | `change=CH` | a token, its argument having another name |
//! | `EX seconds` `LIMIT <offset count>` | a token in front of an argument |
//! | `<x y>` | a block: all of these; its name is `x_y` |
//! | `<x\|y>` | one of these; its name is `x_y` |
//! | `unit<x\|y>` | the same under another name |
//! | `[x]` | an optional argument |
//! | `[x y]` `[x\|y]` `unit[x\|y]` | an optional block, an optional one of these |
//! | `x...` `[TOKEN x...]` | there may be several, behind one token |
//! | `[TOKEN x]...` | there may be several, the token in front of each |
//! | `+6.2.0` `!2.8.12` | the versions that brought the argument, and that advised against it |
//! | `key2@0` | its key specification, where that is not the next; of a pattern that makes keys, too |

/// The types of values by their names; any other is a string.
const TYPES: &[(&str, &str)] = &[
    ("key", "destination destkey dst key key1 key2 newkey source sourcekey src"),
    (
        "integer",
        "bit client-id cluster_bus_port config-epoch count cursor db decrement destination-db end entries_added \
         entries_read frequency increment index index1 index2 len limit milliseconds ms num-matches numkeys numlocal \
         numreplicas offset port protover rank seconds slot start start-slot end-slot stop ttl weight",
    ),
    ("double", "height latitude longitude radius score timeout width"),
    ("pattern", "pattern"),
    ("unix-time", "unix-time-seconds unix-time-milliseconds"),
    ("string", ""),
];

/// An argument, as COMMAND DOCS describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Argument<'a> {
    pub(super) name: String,
    /// One of [`TYPES`], `pure-token`, `block` or `oneof`.
    pub(super) kind: &'a str,
    pub(super) key_spec: Option<u16>,
    pub(super) token: Option<&'a str>,
    pub(super) since: Option<&'a str>,
    pub(super) deprecated_since: Option<&'a str>,
    pub(super) is_optional: bool,
    pub(super) is_multiple: bool,
    pub(super) repeats_token: bool,
    /// A block's, or what one is chosen from.
    pub(super) arguments: Vec<Argument<'a>>,
}

/// The arguments that a syntax describes; `None` if it is not of the notation.
pub(super) fn parse(syntax: &str) -> Option<Vec<Argument<'_>>> {
    if syntax.is_empty() {
        return Some(Vec::new());
    }
    let mut parser = Parser { rest: syntax, next_key: 0 };
    let arguments = parser.list(" ")?;
    parser.rest.is_empty().then_some(arguments)
}

struct Parser<'a> {
    rest: &'a str,
    /// The specification of the next key.
    next_key: u16,
}

impl<'a> Parser<'a> {
    fn list(&mut self, separator: &str) -> Option<Vec<Argument<'a>>> {
        let mut arguments = vec![self.argument()?];
        while self.eat(separator) {
            arguments.push(self.argument()?);
        }
        Some(arguments)
    }

    fn argument(&mut self) -> Option<Argument<'a>> {
        let word = self.word();
        if !is_token(word) {
            return self.value(word);
        }
        if !self.is_before_value() {
            return self.with_suffixes(pure_token(word.to_ascii_lowercase(), word));
        }
        self.eat(" ");
        let name = self.word();
        let value = self.value(name)?;
        value.token.is_none().then_some(Argument { token: Some(word), ..value })
    }

    fn is_before_value(&self) -> bool {
        let is_start = |next: char| next == '<' || next.is_ascii_lowercase();
        self.rest.strip_prefix(' ').is_some_and(|rest| rest.starts_with(is_start))
    }

    fn value(&mut self, word: &'a str) -> Option<Argument<'a>> {
        let value = if self.eat("[") {
            self.group(word, "]")
        } else if self.eat("<") {
            self.group(word, ">")
        } else {
            self.leaf(word)
        };
        value.and_then(|value| self.with_suffixes(value))
    }

    fn group(&mut self, name: &str, end: &str) -> Option<Argument<'a>> {
        let is_optional = end == "]";
        let mut kind = "block";
        let mut arguments = self.list(" ")?;
        if arguments.len() == 1 && self.eat("|") {
            kind = "oneof";
            arguments.extend(self.list("|")?);
        }
        if !self.eat(end) {
            return None;
        }
        if is_optional && name.is_empty() && arguments.len() == 1 {
            return arguments.pop().map(|only| Argument { is_optional, ..only });
        }
        let names = || arguments.iter().map(|each| &each.name[..]).collect::<Vec<_>>().join("_");
        let name = if name.is_empty() { names() } else { name.to_owned() };
        Some(Argument { name, kind, is_optional, arguments, ..Argument::default() })
    }

    fn leaf(&mut self, word: &'a str) -> Option<Argument<'a>> {
        let (name, is) = word.split_once('=').map_or((word, None), |(name, is)| (name, Some(is)));
        match is {
            _ if name.is_empty() => return None,
            Some(token) if token.is_empty() || is_token(token) => {
                return Some(pure_token(name.to_owned(), token));
            }
            Some(kind) if !TYPES.iter().any(|row| row.0 == kind) => return None,
            _ => {}
        }
        let kind = is.unwrap_or_else(|| type_of(name));
        let key_spec = match self.eat("@") {
            true => Some(self.digits("")?.parse().ok()?),
            false => (kind == "key").then_some(self.next_key),
        };
        self.next_key = key_spec.map_or(self.next_key, |spec| spec.saturating_add(1));
        Some(Argument { name: name.to_owned(), kind, key_spec, ..Argument::default() })
    }

    fn with_suffixes(&mut self, mut argument: Argument<'a>) -> Option<Argument<'a>> {
        if self.eat("...") {
            argument.is_multiple = true;
            argument.repeats_token = argument.token.is_some();
        }
        if self.eat("+") {
            argument.since = Some(self.digits(".")?);
        }
        if self.eat("!") {
            argument.deprecated_since = Some(self.digits(".")?);
        }
        Some(argument)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.take_while(|next| !" |<>[]@+!.".contains(next))
    }

    /// Digits, and dots between them if there may be some.
    fn digits(&mut self, dot: &str) -> Option<&'a str> {
        let text = self.take_while(|next| next.is_ascii_digit() || dot.contains(next));
        text.ends_with(|last: char| last.is_ascii_digit()).then_some(text)
    }

    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'a str {
        let len = self.rest.find(|next| !is_taken(next)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }
}

fn is_token(word: &str) -> bool {
    !word.is_empty() && !word.contains(|each: char| each.is_ascii_lowercase())
}

fn pure_token(name: String, token: &str) -> Argument<'_> {
    Argument { name, kind: "pure-token", token: Some(token), ..Argument::default() }
}

fn type_of(name: &str) -> &'static str {
    TYPES.iter().find(|row| super::are_named(row.1, name)).map_or("string", |row| row.0)
}

#[cfg(test)]
mod tests {
    use super::{Argument, parse};

    /// `name:kind`, and whatever else is said.
    fn shown(argument: &Argument<'_>) -> String {
        let said =
            |mark: &str, text: Option<&str>| text.map(|text| format!("{mark}{text}")).unwrap_or_default();
        let spec = argument.key_spec.map(|spec| spec.to_string());
        let flags = [(argument.is_optional, "?"), (argument.is_multiple, "*"), (argument.repeats_token, "*")];
        let arguments: Vec<String> = argument.arguments.iter().map(shown).collect();
        let mut text = format!("{}:{}", argument.name, argument.kind);
        text += &said("@", spec.as_deref());
        text += &said("=", argument.token);
        text += &said("+", argument.since);
        text += &said("!", argument.deprecated_since);
        flags.iter().filter(|flag| flag.0).for_each(|flag| text += flag.1);
        if arguments.is_empty() { text } else { format!("{text}({})", arguments.join(" ")) }
    }

    #[test]
    fn each_sign_of_the_notation_says_one_thing() {
        for (syntax, expected) in [
            ("", ""),
            ("message seconds", "message:string seconds:integer"),
            ("start=string", "start:string"),
            ("NX", "nx:pure-token=NX"),
            ("a=CH b== c=", "a:pure-token=CH b:pure-token== c:pure-token="),
            ("EX seconds NX", "seconds:integer=EX nx:pure-token=NX"),
            ("LIMIT <offset count>", "offset_count:block=LIMIT(offset:integer count:integer)"),
            ("one<message>", "one:block(message:string)"),
            ("<NO ONE>", "no_one:block(no:pure-token=NO one:pure-token=ONE)"),
            ("<ON|a>", "on_a:oneof(on:pure-token=ON a:string)"),
            ("<<a b>|c>", "a_b_c:oneof(a_b:block(a:string b:string) c:string)"),
            ("unit<M|KM>", "unit:oneof(m:pure-token=M km:pure-token=KM)"),
            ("[NX]", "nx:pure-token=NX?"),
            ("[EX seconds]", "seconds:integer=EX?"),
            ("[a b]", "a_b:block?(a:string b:string)"),
            ("x[NX|XX]", "x:oneof?(nx:pure-token=NX xx:pure-token=XX)"),
            ("x[a [ANY]]", "x:block?(a:string any:pure-token=ANY?)"),
            ("[BY x<a|b>]", "x:oneof=BY?(a:string b:string)"),
            ("a... [b...]", "a:string* b:string?*"),
            ("[KEYS a...]", "a:string=KEYS?*"),
            ("[GET a]...", "a:string=GET?**"),
            ("<a b>...", "a_b:block*(a:string b:string)"),
            ("[GET]+6.2.0 a...+1.0!2.8.12", "get:pure-token=GET+6.2.0? a:string+1.0!2.8.12*"),
            ("key newkey", "key:key@0 newkey:key@1"),
            ("key1 key2@0 pattern@1 key", "key1:key@0 key2:key@0 pattern:pattern@1 key:key@2"),
            ("key@65535 key", "key:key@65535 key:key@65535"),
        ] {
            let arguments = parse(syntax).unwrap_or_else(|| panic!("{syntax}"));
            assert_eq!(arguments.iter().map(shown).collect::<Vec<_>>().join(" "), expected, "{syntax}");
        }
    }

    #[test]
    fn what_is_not_of_the_notation_is_nothing() {
        for syntax in [
            " ", "a ", " a", "a  b", "[", "[]", "<a", "a]", "[a>", "<a|b c>", "<a b|c>", "|", "a=text", "=a",
            "a@", "a@x", "a@65536", "a+", "a!", "a..", "...", "EX a=CH", "+1.0", "a+1.0...", "é|",
        ] {
            assert_eq!(parse(syntax), None, "{syntax}");
        }
    }
}
