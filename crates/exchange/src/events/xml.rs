//! A strict reader for small XML documents (XML 1.0 and Namespaces in XML, without document types).
//!
//! What passes here can be copied piece by piece into another document without breaking it. A document type is
//! refused: with none, there are no entities to expand and nothing to fetch. Everything is borrowed from the
//! text; the reader remembers no more than the elements that are open.

use std::ops::Range;

/// Elements within one another at most; a document with more is refused.
pub(super) const DEPTH: usize = 32;
/// Attributes of one element at most, declarations of name spaces among them; a document with more is refused.
pub(super) const ATTRIBUTES: usize = 32;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// What is wrong with a document, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What.
    pub(super) what: &'static str,
    /// Byte position.
    pub(super) at: usize,
}

/// One attribute.
#[derive(Clone, Debug)]
pub(super) struct Attribute<'a> {
    /// The name as written, prefix included.
    pub(super) name: &'a str,
    /// The value between its quotes, references unresolved.
    pub(super) value: &'a str,
    /// Where that value stands.
    pub(super) value_at: Range<usize>,
}

/// A start tag, or the tag of an empty element.
#[derive(Clone, Debug)]
pub(super) struct Element<'a> {
    /// The name as written, prefix included.
    pub(super) name: &'a str,
    /// The name without its prefix.
    pub(super) local: &'a str,
    /// The name space, empty when it is in none.
    pub(super) space: &'a str,
    /// The attributes, declarations of name spaces among them.
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Where the tag stands, from `<` to after `>`.
    pub(super) tag: Range<usize>,
    /// Whether it ends here: no [`Event::Close`] follows.
    pub(super) empty: bool,
}

/// One step through a document.
#[derive(Clone, Debug)]
pub(super) enum Event<'a> {
    /// An element begins.
    Open(Element<'a>),
    /// An element ends: the position after its end tag.
    Close(usize),
}

/// Reads a document from its beginning.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<&'a str>,
    /// Declarations in scope: how many elements were open outside them, prefix, name space.
    scope: Vec<(usize, &'a str, &'a str)>,
    rooted: bool,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, open: Vec::new(), scope: Vec::new(), rooted: false }
    }

    /// The next step; `None` after the end of a whole document.
    ///
    /// # Errors
    /// At the first place where the text is no well-formed document. The reader must not be used after that.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, Fault> {
        if !self.rooted {
            self.declaration()?;
        }
        loop {
            let rest = self.rest();
            if rest.is_empty() {
                return match self.rooted && self.open.is_empty() {
                    true => Ok(None),
                    false => self.fault("the document ends too early"),
                };
            }
            if rest.starts_with("<!--") {
                self.comment()?;
            } else if rest.starts_with("<![CDATA[") {
                self.cdata()?;
            } else if rest.starts_with("<!") {
                return self.fault("document types are not accepted");
            } else if rest.starts_with("<?") {
                self.instruction()?;
            } else if rest.starts_with("</") {
                return self.close().map(Some);
            } else if rest.starts_with('<') {
                return self.element().map(Some);
            } else {
                self.characters()?;
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { what, at: self.at })
    }

    /// Takes what is expected here.
    fn take(&mut self, expected: &str, what: &'static str) -> Result<(), Fault> {
        if !self.rest().starts_with(expected) {
            return self.fault(what);
        }
        self.at += expected.len();
        Ok(())
    }

    /// Takes everything up to `end`, and `end` itself.
    fn until(&mut self, end: &str, what: &'static str) -> Result<&'a str, Fault> {
        let Some(found) = self.rest().find(end) else { return self.fault(what) };
        let taken = self.rest().get(..found).unwrap_or_default();
        if !taken.chars().all(is_char) {
            return self.fault("a character that XML does not allow");
        }
        self.at += found + end.len();
        Ok(taken)
    }

    fn blanks(&mut self) -> bool {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(is_blank).len();
        self.at += length;
        length > 0
    }

    /// The XML declaration, where there is one. UTF-8 is what the text already is.
    fn declaration(&mut self) -> Result<(), Fault> {
        let after = self.rest().strip_prefix("<?xml");
        if !after.is_some_and(|rest| rest.starts_with(is_blank)) {
            return Ok(());
        }
        let declaration = self.until("?>", "the XML declaration does not end")?;
        let mut rest = declaration.get("<?xml".len()..).unwrap_or_default();
        let mut order = 0;
        while !rest.trim_matches(is_blank).is_empty() {
            let Some((name, value, after)) = pseudo_attribute(rest) else {
                return self.fault("an unreadable XML declaration");
            };
            let (place, good) = match name {
                "version" => (1, value.strip_prefix("1.").is_some_and(all_digits)),
                "encoding" => {
                    (2, ["utf-8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(value)))
                }
                "standalone" => (3, value == "yes" || value == "no"),
                _ => (0, false),
            };
            if !good || place <= order || (order == 0 && place != 1) {
                return self.fault("an XML declaration other than of XML 1.0 in UTF-8");
            }
            (order, rest) = (place, after);
        }
        if order == 0 {
            return self.fault("an XML declaration without a version");
        }
        Ok(())
    }

    fn comment(&mut self) -> Result<(), Fault> {
        self.at += "<!--".len();
        self.until("--", "a comment does not end")?;
        self.take(">", "two hyphens within a comment")
    }

    fn cdata(&mut self) -> Result<(), Fault> {
        if self.open.is_empty() {
            return self.fault("text outside the root element");
        }
        self.at += "<![CDATA[".len();
        self.until("]]>", "a CDATA section does not end").map(drop)
    }

    fn instruction(&mut self) -> Result<(), Fault> {
        self.at += "<?".len();
        let target = self.name()?;
        if target.contains(':') || target.eq_ignore_ascii_case("xml") {
            return self.fault("a processing instruction of a reserved name");
        }
        if self.rest().starts_with("?>") {
            self.at += "?>".len();
            return Ok(());
        }
        if !self.blanks() {
            return self.fault("no blank after the name of a processing instruction");
        }
        self.until("?>", "a processing instruction does not end").map(drop)
    }

    /// Text up to the next tag.
    fn characters(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let text = rest.get(..rest.find('<').unwrap_or(rest.len())).unwrap_or_default();
        if self.open.is_empty() && !text.trim_matches(is_blank).is_empty() {
            return self.fault("text outside the root element");
        }
        if text.contains("]]>") {
            return self.fault("]]> in text");
        }
        self.references(text)?;
        self.at += text.len();
        Ok(())
    }

    /// Checks characters and references of text or of an attribute's value.
    fn references(&self, text: &str) -> Result<(), Fault> {
        if !text.chars().all(is_char) {
            return self.fault("a character that XML does not allow");
        }
        for part in text.split('&').skip(1) {
            let Some((name, _)) = part.split_once(';') else {
                return self.fault("an & that refers to nothing");
            };
            if !is_reference(name) {
                return self.fault("a reference to an unknown entity or character");
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<Event<'a>, Fault> {
        self.at += "</".len();
        let name = self.name()?;
        self.blanks();
        self.take(">", "an end tag does not end")?;
        if self.open.pop() != Some(name) {
            return self.fault("an end tag of another element");
        }
        self.leave();
        Ok(Event::Close(self.at))
    }

    /// Forgets the declarations of an element that has ended.
    fn leave(&mut self) {
        let depth = self.open.len();
        self.scope.retain(|(outside, ..)| *outside < depth);
    }

    fn element(&mut self) -> Result<Event<'a>, Fault> {
        if self.open.is_empty() && self.rooted {
            return self.fault("a second root element");
        }
        if self.open.len() >= DEPTH {
            return self.fault("too many elements within one another");
        }
        self.rooted = true;
        let start = self.at;
        self.at += 1;
        let name = self.name()?;
        let attributes = self.attributes()?;
        let empty = self.rest().starts_with('/');
        self.take(if empty { "/>" } else { ">" }, "a tag does not end")?;
        self.declare(&attributes)?;
        let (space, local) = self.resolve(name, true)?;
        self.distinct(&attributes)?;
        match empty {
            true => self.leave(),
            false => self.open.push(name),
        }
        let tag = start..self.at;
        Ok(Event::Open(Element { name, local, space, attributes, tag, empty }))
    }

    fn attributes(&mut self) -> Result<Vec<Attribute<'a>>, Fault> {
        let mut attributes = Vec::new();
        loop {
            let apart = self.blanks();
            if self.rest().is_empty() || self.rest().starts_with(['>', '/']) {
                return Ok(attributes);
            }
            if !apart {
                return self.fault("no blank before an attribute");
            }
            if attributes.len() >= ATTRIBUTES {
                return self.fault("too many attributes");
            }
            attributes.push(self.attribute()?);
        }
    }

    fn attribute(&mut self) -> Result<Attribute<'a>, Fault> {
        let name = self.name()?;
        self.blanks();
        self.take("=", "an attribute without a value")?;
        self.blanks();
        let quote = match self.rest().bytes().next() {
            Some(b'"') => "\"",
            Some(b'\'') => "'",
            _ => return self.fault("an attribute's value without quotes"),
        };
        self.at += 1;
        let from = self.at;
        let value = self.until(quote, "an attribute's value does not end")?;
        if value.contains('<') {
            return self.fault("< in an attribute's value");
        }
        self.references(value)?;
        Ok(Attribute { name, value, value_at: from..from + value.len() })
    }

    /// Takes a name: one colon at most, with something on both its sides.
    fn name(&mut self) -> Result<&'a str, Fault> {
        let rest = self.rest();
        let name =
            rest.get(..rest.find(|c| !is_name(c) && c != ':').unwrap_or(rest.len())).unwrap_or_default();
        let whole = |part: &str| part.starts_with(is_name_start) && !part.contains(':');
        let good = match name.split_once(':') {
            Some((prefix, local)) => whole(prefix) && whole(local),
            None => whole(name),
        };
        if !good {
            return self.fault("a name that is none");
        }
        self.at += name.len();
        Ok(name)
    }

    fn declare(&mut self, attributes: &[Attribute<'a>]) -> Result<(), Fault> {
        for attribute in attributes {
            let Some(prefix) = declared(attribute.name) else { continue };
            let reserved = attribute.value == XML || attribute.value == "http://www.w3.org/2000/xmlns/";
            let wrong = match prefix {
                "xml" => attribute.value != XML,
                "xmlns" => true,
                "" => reserved,
                _ => reserved || attribute.value.is_empty(),
            };
            // Other readers part a name from its space by a character that no URI holds.
            let foreign = attribute.value.contains([' ', '{', '}', '|', '^', '`', '\\', '\t', '\n', '\r']);
            if wrong || foreign {
                return self.fault("a name-space declaration that is not allowed");
            }
            self.scope.push((self.open.len(), prefix, attribute.value));
        }
        Ok(())
    }

    /// The name space and the local part of a name; only elements are in the default name space.
    fn resolve(&self, name: &'a str, element: bool) -> Result<(&'a str, &'a str), Fault> {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        let known = self.scope.iter().rev().find(|(_, known, _)| *known == prefix).map(|(.., space)| *space);
        match (prefix, known) {
            ("", known) => Ok((known.filter(|_| element).unwrap_or_default(), local)),
            ("xml", _) => Ok((XML, local)),
            (_, Some(space)) => Ok((space, local)),
            _ => self.fault("a prefix that is not declared"),
        }
    }

    /// No attribute may stand twice, by its name or by what its name means.
    fn distinct(&self, attributes: &[Attribute<'a>]) -> Result<(), Fault> {
        let mut seen = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            let meant = match declared(attribute.name) {
                Some(prefix) => ("xmlns", prefix),
                None => self.resolve(attribute.name, false)?,
            };
            if seen.contains(&meant) {
                return self.fault("an attribute stands twice");
            }
            seen.push(meant);
        }
        Ok(())
    }
}

/// The prefix that an attribute declares, empty for the default name space; `None` if it is no declaration.
pub(super) fn declared(attribute: &str) -> Option<&str> {
    match attribute {
        "xmlns" => Some(""),
        _ => attribute.strip_prefix("xmlns:"),
    }
}

/// Appends text so that it can stand in an element or in a quoted attribute value. Characters that XML does
/// not allow become U+FFFD.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if is_char(c) => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
}

/// `name = "value"` of an XML declaration, which a blank precedes, and what follows.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let inner = text.trim_start_matches(is_blank);
    if inner.len() == text.len() {
        return None;
    }
    let (name, after) = inner.split_once('=')?;
    let after = after.trim_start_matches(is_blank);
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, after) = after.get(1..)?.split_once(quote)?;
    Some((name.trim_end_matches(is_blank), value, after))
}

/// Whether `&name;` is one of the five predefined entities or a character.
fn is_reference(name: &str) -> bool {
    let code = match name.strip_prefix('#') {
        None => return matches!(name, "amp" | "lt" | "gt" | "quot" | "apos"),
        Some(number) => match number.strip_prefix('x') {
            Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16),
            None if all_digits(number) => number.parse(),
            _ => return false,
        },
    };
    code.ok().and_then(char::from_u32).is_some_and(is_char)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `Char` of XML 1.0 §2.2.
fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// `NameStartChar` of XML 1.0 §2.3 without the colon.
fn is_name_start(c: char) -> bool {
    matches!(c, 'A'..='Z' | 'a'..='z' | '_'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

/// `NameChar` of XML 1.0 §2.3 without the colon.
fn is_name(c: char) -> bool {
    is_name_start(c)
        || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
