//! YAML text to a tree in which every node knows where it stands.
//!
//! Bounded in size, depth and number of nodes, aliases counted as what they
//! stand for, so that no text can ask for more memory than it is worth.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

/// The largest rule file that is read.
pub(crate) const MAX_BYTES: usize = 8 << 20;
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 500_000;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) start: Mark,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar { text: String, style: ScalarStyle },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// A place in the text: character index, line from 1, column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) index: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Why a text is not YAML, or more than is read.
#[derive(Debug, Clone)]
pub(crate) struct YamlError {
    pub(crate) at: Mark,
    pub(crate) message: String,
}

/// Reads every document of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_BYTES}", text.len());
        return Err(YamlError { at: Mark::default(), message });
    }
    let parser = Parser::new_from_str(text);
    let mut reader = Reader { parser, anchors: HashMap::new(), nodes: 0 };
    let mut documents = Vec::new();
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event => documents.push(reader.node(event, span, 0)?),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(fail(*error.marker(), error.info())),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 0, 0)))),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, YamlError> {
        let before = self.nodes;
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(fail(span.start, &format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (kind, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                (Kind::Scalar { text: text.into_owned(), style }, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(id) => return self.alias(id, span),
            other => return Err(fail(span.start, &format!("unexpected {other:?}"))),
        };
        let node = Node { kind, start: mark(span.start) };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        self.limited(span)?;
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Kind::Sequence(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, YamlError> {
        let mut pairs = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Kind::Mapping(pairs));
            }
            let key = self.node(event, span, depth + 1)?;
            let (event, span) = self.next()?;
            pairs.push((key, self.node(event, span, depth + 1)?));
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, YamlError> {
        let Some((node, size)) = self.anchors.get(&id) else {
            return Err(fail(span.start, "an alias of something that is not finished"));
        };
        self.nodes += size;
        let node = Node { start: mark(span.start), ..node.clone() };
        self.limited(span)?;
        Ok(node)
    }

    fn limited(&self, span: Span) -> Result<(), YamlError> {
        if self.nodes > MAX_NODES {
            return Err(fail(span.start, &format!("more than {MAX_NODES} values, aliases counted in full")));
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.pair(key).map(|(_, value)| value)
    }

    /// A key's own node and its value.
    pub(crate) fn pair(&self, key: &str) -> Option<(&Self, &Self)> {
        self.pairs().iter().find(|(name, _)| name.text() == Some(key)).map(|(name, value)| (name, value))
    }

    /// The pairs, if this is a mapping.
    pub(crate) fn pairs(&self) -> &[(Self, Self)] {
        match &self.kind {
            Kind::Mapping(pairs) => pairs,
            _ => &[],
        }
    }

    /// Whether it is a mapping, if only an empty one.
    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.kind, Kind::Mapping(_))
    }

    /// The items, if this is a sequence.
    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if this is a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Empty, `~` or `null` without quotes.
    pub(crate) fn is_null(&self) -> bool {
        match &self.kind {
            Kind::Scalar { text, style: ScalarStyle::Plain } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// Where in the file's text the `at`-th byte of this scalar stands: line
    /// breaks and indentation differ from the value, the other characters come
    /// in the same order.
    pub(crate) fn locate(&self, source: &[char], at: usize) -> Mark {
        let Kind::Scalar { text, style } = &self.kind else { return self.start };
        let before = text.char_indices().take_while(|(index, _)| *index < at);
        let mut left = before.filter(|(_, c)| !c.is_whitespace()).count();
        // What is wrong with the end stands behind the last character, not at
        // whatever comes next in the file.
        let at_end = left > 0 && text.get(at..).is_none_or(|rest| rest.trim().is_empty());
        let mut place = self.start;
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        let mut in_header = block && source.get(place.index).is_some_and(|c| matches!(c, '|' | '>'));
        if quoted {
            place.step(source);
        }
        while let Some(&c) = source.get(place.index) {
            if !in_header && !c.is_whitespace() {
                if left == 0 {
                    break;
                }
                left -= 1;
                let escape = match style {
                    ScalarStyle::DoubleQuoted => c == '\\',
                    ScalarStyle::SingleQuoted => c == '\'',
                    _ => false,
                };
                if escape {
                    place.step(source);
                }
            }
            in_header = in_header && c != '\n';
            place.step(source);
            if at_end && left == 0 {
                break;
            }
        }
        place
    }
}

// === impl Mark ===

impl Mark {
    fn step(&mut self, source: &[char]) {
        let newline = source.get(self.index) == Some(&'\n');
        self.index += 1;
        self.line += usize::from(newline);
        self.column = if newline { 1 } else { self.column + 1 };
    }
}

fn mark(marker: Marker) -> Mark {
    Mark { index: marker.index(), line: marker.line(), column: marker.col() + 1 }
}

fn fail(marker: Marker, message: &str) -> YamlError {
    YamlError { at: mark(marker), message: message.to_owned() }
}
