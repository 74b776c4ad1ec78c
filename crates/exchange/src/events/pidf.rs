//! Presence documents (PIDF, RFC 3863): taken apart when they are published, put together for watchers.

use super::xml::{ATTRIBUTES, Attribute, Element, Event, Fault, Reader, declared, escape};
use std::collections::HashSet;
use std::ops::Range;

/// The media type.
pub(super) const TYPE: &str = "application/pidf+xml";
const SPACE: &str = "urn:ietf:params:xml:ns:pidf";

/// Bytes of all pieces of one publication at most. They are larger than the published body, since each piece
/// carries the declarations that it needs; a document that grows beyond this is refused.
const PIECES: usize = 128 * 1024;
/// Bytes of a composed document at most; older publications that do not fit any more are left out.
pub(super) const COMPOSED: usize = 256 * 1024;

/// One child element of a `presence` element, complete in itself: its bytes as they were published, with the
/// name spaces declared that its parent declared for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    /// Where the value of its `id` stands.
    id: Option<Range<usize>>,
}

/// A published presence document, in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presentation {
    tuples: Vec<Piece>,
    notes: Vec<Piece>,
    /// Elements of other name spaces, such as `person` and `device` (RFC 4479).
    others: Vec<Piece>,
}

impl Presentation {
    /// Takes a body apart.
    ///
    /// # Errors
    /// If it is no well-formed XML in UTF-8, or no PIDF document.
    pub(super) fn read(body: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Fault { what: "not UTF-8", at: error.valid_up_to() })?;
        let mut reader = Reader::new(text);
        let Some(Event::Open(root)) = reader.next()? else {
            return Err(Fault { what: "no root element", at: 0 });
        };
        if (root.space, root.local) != (SPACE, "presence") {
            return Err(Fault { what: "the root element is not presence of PIDF", at: root.tag.start });
        }
        let mut found = Self::default();
        let (mut depth, mut size) = (0usize, 0);
        let mut child: Option<Element<'_>> = None;
        while let Some(event) = reader.next()? {
            let end = match event {
                Event::Open(element) => {
                    let empty = element.empty.then_some(element.tag.end);
                    if depth == 0 {
                        child = Some(element);
                    }
                    depth += usize::from(empty.is_none());
                    empty
                }
                // The root's own end comes when nothing else is open.
                Event::Close(_) if depth == 0 => continue,
                Event::Close(end) => {
                    depth -= 1;
                    Some(end)
                }
            };
            if let Some(end) = end.filter(|_| depth == 0)
                && let Some(child) = child.take()
            {
                let piece = Piece::cut(text, &root, &child, end)?;
                size += piece.text.len();
                if size > PIECES {
                    return Err(Fault { what: "too large once each element stands for itself", at: end });
                }
                found.list(&child).push(piece);
            }
        }
        Ok(found)
    }

    /// Where a child element belongs (RFC 3863 §4.4: tuples, then notes, then extensions).
    fn list(&mut self, child: &Element<'_>) -> &mut Vec<Piece> {
        match (child.space, child.local) {
            (SPACE, "tuple") => &mut self.tuples,
            (SPACE, "note") => &mut self.notes,
            _ => &mut self.others,
        }
    }

    /// Whether it says anything about reaching somebody.
    pub(super) fn has_tuples(&self) -> bool {
        !self.tuples.is_empty()
    }

    /// Whether both have tuples, of the same ids: the same thing, said twice.
    pub(super) fn same_tuples(&self, other: &Self) -> bool {
        self.has_tuples() && self.tuples.iter().map(Piece::id).eq(other.tuples.iter().map(Piece::id))
    }

    fn size(&self) -> usize {
        self.pieces().map(|piece| piece.text.len() + 64).sum()
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.tuples.iter().chain(&self.notes).chain(&self.others)
    }
}

impl Piece {
    fn cut(text: &str, root: &Element<'_>, child: &Element<'_>, end: usize) -> Result<Self, Fault> {
        if root.attributes.len() + child.attributes.len() + 2 > ATTRIBUTES {
            return Err(Fault { what: "too many attributes", at: child.tag.start });
        }
        let whole = text.get(child.tag.start..end).unwrap_or_default();
        let name_end = 1 + child.name.len();
        let mut inserted = String::new();
        for attribute in &root.attributes {
            inherit(attribute, child, whole, &mut inserted);
        }
        let root_default = root.attributes.iter().any(|attribute| attribute.name == "xmlns");
        if !root_default && !child.attributes.iter().any(|attribute| attribute.name == "xmlns") {
            inserted.push_str(" xmlns=\"\"");
        }
        let id = child.attributes.iter().find(|attribute| attribute.name == "id");
        let id = match id {
            Some(id) => {
                let moved = |at: usize| at - child.tag.start + inserted.len();
                Some(moved(id.value_at.start)..moved(id.value_at.end))
            }
            // A tuple needs an id (§4.1.2); one that came without is given one.
            None if (child.space, child.local) == (SPACE, "tuple") => {
                inserted.push_str(" id=\"tuple\"");
                let end = name_end + inserted.len() - 1;
                Some(end - "tuple".len()..end)
            }
            None => None,
        };
        let (name, rest) = whole.split_at_checked(name_end).unwrap_or_default();
        Ok(Self { text: [name, &inserted, rest].concat(), id })
    }

    fn id(&self) -> Option<&str> {
        self.text.get(self.id.clone()?)
    }

    /// Appends the piece with an id that no other has: its own, or one made of it and of `key`.
    fn write(&self, key: &str, taken: &mut HashSet<String>, out: &mut String) {
        let Some(range) = &self.id else { return out.push_str(&self.text) };
        let own = self.text.get(range.clone()).unwrap_or_default();
        let mut id = own.to_owned();
        let mut attempt = 1;
        while !taken.insert(id.clone()) {
            id = if attempt == 1 { format!("{own}.{key}") } else { format!("{own}.{key}.{attempt}") };
            attempt += 1;
        }
        out.push_str(self.text.get(..range.start).unwrap_or_default());
        out.push_str(&id);
        out.push_str(self.text.get(range.end..).unwrap_or_default());
    }
}

/// Writes down what a child inherits from an attribute of its parent: name spaces that it uses, and `xml:lang`
/// and its like.
fn inherit(attribute: &Attribute<'_>, child: &Element<'_>, whole: &str, out: &mut String) {
    let wanted = match declared(attribute.name) {
        Some("") => attribute.value != SPACE,
        Some(prefix) => whole.contains(&format!("{prefix}:")),
        None => attribute.name.starts_with("xml:"),
    };
    if wanted && !child.attributes.iter().any(|own| own.name == attribute.name) {
        let value = attribute.value.replace('"', "&quot;");
        out.extend([" ", attribute.name, "=\"", &value, "\""]);
    }
}

/// Puts a document together: what is known from the registration, if that is to be told, and the publications
/// with their keys, the oldest first. In the document the newest stands first, since some watchers look at nothing
/// else. Also says how many publications did not fit.
pub(super) fn compose<'a>(
    entity: &str,
    registered: Option<bool>,
    publications: impl DoubleEndedIterator<Item = (&'a str, &'a Presentation)>,
) -> (Vec<u8>, usize) {
    let mut room = COMPOSED;
    let mut left_out = 0;
    let mut kept: Vec<(&str, &Presentation)> = Vec::new();
    for (key, presentation) in publications.rev() {
        match room.checked_sub(presentation.size()) {
            Some(less) => {
                room = less;
                kept.push((key, presentation));
            }
            None => left_out += 1,
        }
    }
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.extend(["<presence xmlns=\"", SPACE, "\" entity=\""]);
    escape(entity, &mut out);
    out.push_str("\">\n");
    let mut taken = HashSet::new();
    if let Some(open) = registered {
        taken.insert("registered".to_owned());
        let basic = if open { "open" } else { "closed" };
        out.extend(["<tuple id=\"registered\"><status><basic>", basic, "</basic></status><contact>"]);
        escape(entity, &mut out);
        out.push_str("</contact></tuple>\n");
    }
    let lists: [fn(&Presentation) -> &[Piece]; 3] = [|p| &p.tuples, |p| &p.notes, |p| &p.others];
    for list in lists {
        for (key, presentation) in &kept {
            for piece in list(presentation) {
                piece.write(key, &mut taken, &mut out);
                out.push('\n');
            }
        }
    }
    out.push_str("</presence>\n");
    (out.into_bytes(), left_out)
}

/// What must hold of any bytes: if they are accepted, so is every document that is made of them.
pub(super) fn check(data: &[u8]) {
    let Ok(presentation) = Presentation::read(data) else { return };
    let twice = [("a", &presentation), ("b", &presentation)];
    let (document, left_out) = compose("sip:a&b@example.com", Some(true), twice.into_iter());
    assert_eq!(left_out, 0, "two publications of the largest size fit");
    let again = Presentation::read(&document).expect("a composed document is well-formed");
    assert_eq!(again.tuples.len(), 1 + 2 * presentation.tuples.len());
    assert_eq!(again.notes.len(), 2 * presentation.notes.len());
    assert_eq!(again.others.len(), 2 * presentation.others.len());
    let ids = again.pieces().filter_map(|piece| piece.text.get(piece.id.clone()?));
    let mut seen = HashSet::new();
    assert!(ids.into_iter().all(|id| seen.insert(id.to_owned())), "ids are unique");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 3863 §4.2.1 with the extension of its §4.2.2's kind.
    const SOMEBODY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<impp:presence xmlns:impp="urn:ietf:params:xml:ns:pidf" xmlns:local="urn:example-com:pidf-status-type"
    entity="pres:someone@example.com">
  <impp:tuple id="sg89ae">
    <impp:status><impp:basic>open</impp:basic><local:location>home</local:location></impp:status>
    <impp:contact priority="0.8">tel:+09012345678</impp:contact>
  </impp:tuple>
  <impp:note xml:lang="fr">&#192; bient&#xF4;t</impp:note>
</impp:presence>"#;

    const ANOTHER: &str = r#"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='x' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' xml:lang='de'>
<dm:person id='p'><dm:note>weg</dm:note></dm:person><tuple id='sg89ae'><status/></tuple><tuple><status/></tuple></presence>"#;

    fn composed(bodies: &[&str]) -> String {
        let read: Vec<_> = bodies.iter().map(|body| Presentation::read(body.as_bytes()).unwrap()).collect();
        let keys = ["k1", "k2", "k3"];
        let (out, left_out) = compose("sip:someone@example.com", None, keys.into_iter().zip(&read));
        assert_eq!(left_out, 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_piece_keeps_its_bytes_and_its_name_spaces() {
        let out = composed(&[SOMEBODY]);
        assert!(out.contains(
            "<impp:tuple xmlns:impp=\"urn:ietf:params:xml:ns:pidf\" \
             xmlns:local=\"urn:example-com:pidf-status-type\" xmlns=\"\" id=\"sg89ae\">\n    <impp:status>\
             <impp:basic>open</impp:basic><local:location>home</local:location></impp:status>\n"
        ));
        assert!(out.contains("xml:lang=\"fr\">&#192; bient&#xF4;t</impp:note>"));
        assert!(
            !out.contains("xmlns:local=\"urn:example-com:pidf-status-type\" xmlns=\"\" xml:lang"),
            "unused"
        );
    }

    #[test]
    fn several_publications_in_the_order_of_the_schema_with_ids_of_their_own() {
        let out = composed(&[SOMEBODY, ANOTHER]);
        let at = |part: &str| out.find(part).unwrap_or_else(|| panic!("{part} in {out}"));
        assert!(at("id='sg89ae'") < at("id=\"sg89ae.k1\""));
        assert!(at("<tuple xml:lang=\"de\" id=\"tuple\"><status/></tuple>") < at("<impp:note"));
        let person = "<dm:person xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xml:lang=\"de\" id='p'>";
        assert!(at("<impp:note") < at(person));
        check(SOMEBODY.as_bytes());
        check(ANOTHER.as_bytes());
    }

    #[test]
    fn what_is_no_presence_document() {
        for body in [
            &b""[..],
            b"\xff",
            b"<presence/>",
            b"<presence xmlns='urn:ietf:params:xml:ns:pidf'>",
            b"<tuple xmlns='urn:ietf:params:xml:ns:pidf'/>",
        ] {
            assert!(Presentation::read(body).is_err());
        }
    }

    #[test]
    fn declarations_copied_many_times_are_bounded() {
        let long = "u".repeat(10_000);
        let body = format!(
            "<p:presence xmlns:p='{SPACE}' xmlns='{long}'>{}</p:presence>",
            "<a/>".repeat(PIECES / 10_000 + 1)
        );
        assert!(Presentation::read(body.as_bytes()).is_err());
    }

    #[test]
    fn the_oldest_publications_give_way() {
        let body = format!("<presence xmlns='{SPACE}'><note>{}</note></presence>", "x".repeat(100_000));
        let read = Presentation::read(body.as_bytes()).unwrap();
        let (out, left_out) =
            compose("sip:a@b", None, [("1", &read), ("2", &read), ("3", &read)].into_iter());
        assert_eq!(left_out, 1);
        assert!(out.len() <= COMPOSED + 1024);
    }

    #[test]
    fn the_state_of_a_registration() {
        let none = std::iter::empty::<(&str, &Presentation)>;
        let text = |open| String::from_utf8(compose("sip:a&b@c", Some(open), none()).0).unwrap();
        assert!(text(true).contains("<basic>open</basic></status><contact>sip:a&amp;b@c</contact>"));
        assert!(text(false).contains("<basic>closed</basic>"));
    }
}
