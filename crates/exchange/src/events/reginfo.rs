//! Registration documents (RFC 3680 §5, with the GRUUs of RFC 5628).

use super::xml::escape;
use causeway_sip::{Param, Params};
use causeway_store::record::Binding;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The media type.
pub(super) const TYPE: &str = "application/reginfo+xml";

/// What made a contact what it is now (RFC 3680 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegEvent {
    /// Bound by an administrator.
    Registered,
    /// Bound by a REGISTER.
    Created,
    /// Bound again by a REGISTER.
    Refreshed,
    /// Cut short by the registrar.
    Shortened,
    /// Ended: its time is over.
    Expired,
    /// Ended by the registrar; the user agent shall register again at once.
    Deactivated,
    /// Ended by the registrar; the user agent shall register again later.
    Probation,
    /// Ended by the user agent.
    Unregistered,
    /// Ended by the registrar; the user agent shall not register again.
    Rejected,
}

impl RegEvent {
    /// Whether the contact is bound no more.
    pub fn ends(self) -> bool {
        use RegEvent::*;
        matches!(self, Expired | Deactivated | Probation | Unregistered | Rejected)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Created => "created",
            Self::Refreshed => "refreshed",
            Self::Shortened => "shortened",
            Self::Expired => "expired",
            Self::Deactivated => "deactivated",
            Self::Probation => "probation",
            Self::Unregistered => "unregistered",
            Self::Rejected => "rejected",
        }
    }
}

/// One contact of an address of record, as the reg event package tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegInfo {
    /// The contact URI as registered.
    pub contact: Vec<u8>,
    /// Display name without quotes; empty for none.
    pub display: Vec<u8>,
    /// Contact parameters other than `q` and `expires`, values without quotes: `+sip.instance` and its like.
    pub params: Vec<(Vec<u8>, Vec<u8>)>,
    /// Preference in thousandths, if it was given.
    pub q: Option<u16>,
    /// When it was bound first, milliseconds since 1970, if that is known.
    pub since_ms: Option<u64>,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: u64,
    /// Call-ID of its last REGISTER.
    pub call_id: Vec<u8>,
    /// CSeq of its last REGISTER.
    pub cseq: u32,
    /// What happened last.
    pub event: RegEvent,
    /// Its public GRUU (RFC 5627).
    pub pub_gruu: Option<Vec<u8>>,
    /// Its latest temporary GRUU, and the CSeq of the first REGISTER for which it was given (RFC 5628 §5).
    pub temp_gruu: Option<(Vec<u8>, u32)>,
}

impl RegInfo {
    /// What a binding says, `event` being what happened to it last. GRUUs and the time of its first registration
    /// are not in it.
    pub fn of(binding: &Binding, event: RegEvent) -> Self {
        let shown = |param: &Param<'_>| {
            ![&b"q"[..], b"expires"].iter().any(|own| own.eq_ignore_ascii_case(param.name))
        };
        let params = Params::new(binding.params.as_bytes()).filter(shown);
        Self {
            contact: binding.contact.as_bytes().to_vec(),
            display: Vec::new(),
            params: params.map(|param| (param.name.to_vec(), param.unquoted().into_owned())).collect(),
            q: Some(binding.q),
            since_ms: None,
            expires_ms: binding.expires,
            call_id: binding.call_id.as_bytes().to_vec(),
            cseq: binding.cseq,
            event,
            pub_gruu: None,
            temp_gruu: None,
        }
    }
}

/// The full state of one address of record: contacts that are bound, and those that have ended since the last
/// document. `unix_ms` is now.
pub(super) fn document<'a>(
    aor: &[u8],
    version: u32,
    contacts: impl Iterator<Item = &'a RegInfo>,
    unix_ms: u64,
) -> Vec<u8> {
    let (mut bound, mut ended) = (0, 0);
    let mut list = String::new();
    for contact in contacts {
        if contact.event.ends() {
            ended += 1
        } else {
            bound += 1
        }
        write_contact(contact, unix_ms, &mut list);
    }
    let state = match (bound, ended) {
        (0, 0) => "init",
        (0, _) => "terminated",
        _ => "active",
    };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str("<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\"");
    out.push_str(" xmlns:gr=\"urn:ietf:params:xml:ns:gruuinfo\"");
    // Writing to a String cannot fail.
    let _ = write!(out, " version=\"{version}\" state=\"full\">\n<registration aor=\"");
    text(aor, &mut out);
    let _ = writeln!(out, "\" id=\"r\" state=\"{state}\">");
    out.push_str(&list);
    out.push_str("</registration>\n</reginfo>\n");
    out.into_bytes()
}

fn write_contact(contact: &RegInfo, unix_ms: u64, out: &mut String) {
    let ends = contact.event.ends();
    let state = if ends { "terminated" } else { "active" };
    let _ = write!(out, "<contact id=\"{}\" state=\"{state}\"", id(&contact.contact));
    let _ = write!(out, " event=\"{}\"", contact.event.name());
    if !ends {
        let left = contact.expires_ms.saturating_sub(unix_ms) / 1000;
        let _ = write!(out, " expires=\"{left}\"");
    }
    if let Some(since) = contact.since_ms {
        let _ = write!(out, " duration-registered=\"{}\"", unix_ms.saturating_sub(since) / 1000);
    }
    if let Some(q) = contact.q {
        let _ = write!(out, " q=\"{}.{:03}\"", q / 1000, q % 1000);
    }
    out.push_str(" callid=\"");
    text(&contact.call_id, out);
    let _ = write!(out, "\" cseq=\"{}\">\n<uri>", contact.cseq);
    text(&contact.contact, out);
    out.push_str("</uri>\n");
    if !contact.display.is_empty() {
        out.push_str("<display-name>");
        text(&contact.display, out);
        out.push_str("</display-name>\n");
    }
    for (name, value) in &contact.params {
        out.push_str("<unknown-param name=\"");
        text(name, out);
        out.push_str("\">");
        text(value, out);
        out.push_str("</unknown-param>\n");
    }
    if let Some(uri) = &contact.pub_gruu {
        out.push_str("<gr:pub-gruu uri=\"");
        text(uri, out);
        out.push_str("\"/>\n");
    }
    if let Some((uri, first)) = &contact.temp_gruu {
        out.push_str("<gr:temp-gruu uri=\"");
        text(uri, out);
        let _ = writeln!(out, "\" first-cseq=\"{first}\"/>");
    }
    out.push_str("</contact>\n");
}

/// The same for the same contact, in every document and after a restart.
fn id(contact: &[u8]) -> String {
    Sha256::digest(contact).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8], out: &mut String) {
    escape(&String::from_utf8_lossy(bytes), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::xml::{Event, Reader};

    fn contact(uri: &str, event: RegEvent) -> RegInfo {
        RegInfo {
            contact: uri.into(),
            display: b"J & \"R\"".to_vec(),
            params: vec![(b"+sip.instance".to_vec(), b"<urn:uuid:f81d4fae>".to_vec())],
            q: Some(800),
            since_ms: Some(1_000_000),
            expires_ms: 2_000_000,
            call_id: b"a84b4c76e66710".to_vec(),
            cseq: 7,
            event,
            pub_gruu: Some(b"sip:user@example.com;gr=urn:uuid:f81d4fae".to_vec()),
            temp_gruu: Some((b"sip:tgruu.7hs@example.com;gr".to_vec(), 3)),
        }
    }

    fn document_of(contacts: &[RegInfo]) -> String {
        let text = document(b"sip:user@example.com", 4, contacts.iter(), 1_500_999);
        let text = String::from_utf8(text).unwrap();
        let mut reader = Reader::new(&text);
        while let Some(event) = reader.next().unwrap() {
            let Event::Open(element) = event else { continue };
            let gruu = element.local.ends_with("gruu");
            let space =
                if gruu { "urn:ietf:params:xml:ns:gruuinfo" } else { "urn:ietf:params:xml:ns:reginfo" };
            assert_eq!(element.space, space);
        }
        text
    }

    #[test]
    fn a_contact_with_all_that_can_be_said() {
        let text = document_of(&[contact("sip:user@192.0.2.1", RegEvent::Refreshed)]);
        for part in [
            "version=\"4\" state=\"full\"",
            "<registration aor=\"sip:user@example.com\" id=\"r\" state=\"active\">",
            "state=\"active\" event=\"refreshed\" expires=\"499\" duration-registered=\"500\" q=\"0.800\" \
             callid=\"a84b4c76e66710\" cseq=\"7\">\n<uri>sip:user@192.0.2.1</uri>\n\
             <display-name>J &amp; &quot;R&quot;</display-name>\n\
             <unknown-param name=\"+sip.instance\">&lt;urn:uuid:f81d4fae&gt;</unknown-param>\n\
             <gr:pub-gruu uri=\"sip:user@example.com;gr=urn:uuid:f81d4fae\"/>\n\
             <gr:temp-gruu uri=\"sip:tgruu.7hs@example.com;gr\" first-cseq=\"3\"/>\n</contact>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_binding_as_the_registrar_keeps_it() {
        let binding = Binding {
            contact: "sip:user@192.0.2.1".into(),
            params: ";q=0.5;+sip.instance=\"<urn:uuid:f81d4fae>\";audio".into(),
            q: 500,
            expires: 2_000_000,
            call_id: "c".into(),
            cseq: 9,
            ..Binding::default()
        };
        let text = document_of(&[RegInfo::of(&binding, RegEvent::Created)]);
        assert!(text.contains("expires=\"499\" q=\"0.500\" callid=\"c\" cseq=\"9\">"));
        assert!(text.contains(
            "<unknown-param name=\"+sip.instance\">&lt;urn:uuid:f81d4fae&gt;</unknown-param>\n\
             <unknown-param name=\"audio\"></unknown-param>\n</contact>"
        ));
    }

    #[test]
    fn the_states_of_a_registration() {
        assert!(document_of(&[]).contains("state=\"init\""));
        let gone = document_of(&[contact("sip:a", RegEvent::Expired)]);
        assert!(gone.contains("id=\"r\" state=\"terminated\""));
        assert!(gone.contains("state=\"terminated\" event=\"expired\" duration"));
        let both = document_of(&[contact("sip:a", RegEvent::Expired), contact("sip:b", RegEvent::Created)]);
        assert!(both.contains("id=\"r\" state=\"active\""));
    }
}
