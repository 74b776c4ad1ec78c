//! PUBLISH (RFC 3903 §6).

use super::answers::{self, Refusal, token};
use super::pidf::{self, Presentation};
use super::resource::Publication;
use super::subscribe::seconds;
use super::subscription::Package;
use super::{Action, Asked, Due, Events, later, text};
use causeway_node::Ctx;
use causeway_sip::{HeaderId, Msg, response_to};
use causeway_store::record::{self, Kind};

/// How long a publication lasts that names no time, in seconds.
const DEFAULT_EXPIRES: u64 = 3600;

impl Events {
    pub(super) fn publish(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let msg = asked.msg;
        answers::nothing_required(msg)?;
        let (package, _) = answers::package(msg)?;
        if package != Package::Presence {
            // Registrations are known here; nobody tells them.
            return Err(Refusal::bad_event());
        }
        if asked.who != asked.resource {
            return Err(Refusal::new(403));
        }
        let known = self.matching(asked)?;
        let (min, max) = (seconds(self.config.min_expires), seconds(self.config.max_expires));
        let expires = answers::granted(msg, DEFAULT_EXPIRES, min, max)?;
        let body = if expires > 0 { body(msg)? } else { None };
        let name = known.or_else(|| self.taken_over(asked, &body.as_ref()?.1));
        match (name, body) {
            (Some(name), _) if expires == 0 => self.unpublish(ctx, asked, &name, actions),
            (Some(name), body) => self.republish(ctx, asked, &name, body, expires, actions),
            (None, _) if expires == 0 => {
                let etag = token(ctx);
                self.published(ctx, asked, &etag, 0, actions);
                Ok(())
            }
            (None, Some((body, presentation))) => {
                self.publish_new(ctx, asked, body, presentation, expires, actions)
            }
            (None, None) => Err(Refusal::new(400).because("nothing is published")),
        }
    }

    /// The name of the publication that SIP-If-Match names; `None` for a new one (§6 step 3).
    fn matching(&self, asked: &Asked<'_>) -> Result<Option<String>, Refusal> {
        let Some(etag) = asked.msg.header(HeaderId::SipIfMatch) else { return Ok(None) };
        let publications = self.resources.get(asked.resource).map_or(&[][..], |r| &r.publications);
        let known = publications.iter().find(|publication| publication.etag.as_bytes() == etag);
        known.map(|publication| Some(publication.name.clone())).ok_or_else(|| Refusal::new(412))
    }

    /// The name of the publication that the same device has made before and forgotten: what it says now replaces it, since
    /// nobody would change it any more until it ends. How states are composed is the server's policy (RFC 3903 §2).
    fn taken_over(&self, asked: &Asked<'_>, new: &Presentation) -> Option<String> {
        let device = device(asked.msg);
        let mut publications = self.resources.get(asked.resource)?.publications.iter();
        let same = publications.find(|p| p.device == device && p.presentation.same_tuples(new));
        same.map(|publication| publication.name.clone())
    }

    fn publish_new(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        body: Vec<u8>,
        presentation: Presentation,
        expires: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        if self.published + body.len() > Self::PUBLISHED {
            return Err(Refusal::full("too much is published"));
        }
        let aor = asked.resource;
        let present = self.resources.get(aor).map_or(&[][..], |resource| &resource.publications);
        if present.len() >= Self::PUBLICATIONS {
            let first = present.iter().min_by_key(|publication| publication.expires).map(|p| p.name.clone());
            if let Some(name) = first {
                self.counters.evicted += 1;
                self.remove_publication(ctx, aor, &name, false, actions);
            }
        }
        let name = String::from_utf8_lossy(&token(ctx)).into_owned();
        let etag = String::from_utf8_lossy(&token(ctx)).into_owned();
        let id = self.next_id();
        let expires_at = ctx.unix_ms + expires * 1000;
        self.published += body.len();
        self.publishers.insert(id, aor.to_vec());
        self.timers.set(Due::Publication(id), later(ctx, expires_at));
        let publication = Publication {
            id,
            name,
            etag: etag.clone(),
            expires: expires_at,
            changed: ctx.unix_ms,
            device: device(asked.msg),
            body,
            presentation,
        };
        actions.push(Action::Persist(record_of(aor, &publication)));
        self.published(ctx, asked, etag.as_bytes(), expires, actions);
        self.change(ctx, aor, |resource| resource.publications.push(publication), actions);
        Ok(())
    }

    /// Refreshes a publication, and replaces its document if there is a new one. It gets a new entity tag in
    /// either case (§6 step 6).
    fn republish(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        name: &str,
        body: Option<(Vec<u8>, Presentation)>,
        expires: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let aor = asked.resource;
        let etag = token(ctx);
        let resource = self.resources.get_mut(aor);
        let publication =
            resource.and_then(|resource| resource.publications.iter_mut().find(|p| p.name == name));
        let Some(publication) = publication else { return Err(Refusal::new(412)) };
        if let Some((new, _)) = &body {
            let others = self.published - publication.body.len();
            if others + new.len() > Self::PUBLISHED {
                return Err(Refusal::full("too much is published"));
            }
            self.published = others + new.len();
            publication.body.clone_from(new);
            publication.changed = ctx.unix_ms;
        }
        publication.etag = String::from_utf8_lossy(&etag).into_owned();
        publication.expires = ctx.unix_ms + expires * 1000;
        self.timers.set(Due::Publication(publication.id), later(ctx, publication.expires));
        actions.push(Action::Persist(record_of(aor, publication)));
        self.published(ctx, asked, &etag, expires, actions);
        if let Some((_, presentation)) = body {
            let change = |resource: &mut super::Resource| {
                if let Some(at) = resource.publications.iter().position(|p| p.name == name) {
                    let publication = resource.publications.remove(at);
                    resource.publications.push(Publication { presentation, ..publication });
                }
            };
            self.change(ctx, aor, change, actions);
        }
        Ok(())
    }

    fn unpublish(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        name: &str,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        actions.push(Action::Persist(record::Publication::removal(&key(asked.resource, name))));
        let etag = token(ctx);
        self.published(ctx, asked, &etag, 0, actions);
        self.remove_publication(ctx, asked.resource, name, true, actions);
        Ok(())
    }

    /// The 200 to a PUBLISH.
    fn published(
        &self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        etag: &[u8],
        expires: u64,
        actions: &mut Vec<Action>,
    ) {
        let response = response_to(asked.msg, 200, None, Some(&token(ctx)))
            .header("SIP-ETag", etag)
            .header("Expires", expires.to_string())
            .finish();
        actions.push(Action::Reply { id: asked.id, status: 200, response });
    }

    /// The time of a publication is over.
    pub(super) fn publication_expired(&mut self, ctx: &mut Ctx<'_>, id: u64, actions: &mut Vec<Action>) {
        let Some(aor) = self.publishers.get(&id).cloned() else { return };
        let resource = self.resources.get(&aor);
        let publication = resource.and_then(|resource| resource.publications.iter().find(|p| p.id == id));
        if let Some(name) = publication.map(|publication| publication.name.clone()) {
            self.remove_publication(ctx, &aor, &name, false, actions);
        }
    }

    /// Takes a publication away and tells who watches; its record too, unless that is `done`.
    fn remove_publication(
        &mut self,
        ctx: &mut Ctx<'_>,
        aor: &[u8],
        name: &str,
        done: bool,
        actions: &mut Vec<Action>,
    ) {
        let found = self.resources.get(aor).and_then(|r| r.publications.iter().find(|p| p.name == name));
        let Some(publication) = found else { return };
        self.published -= publication.body.len();
        self.publishers.remove(&publication.id);
        self.timers.cancel(Due::Publication(publication.id));
        if !done {
            actions.push(Action::Persist(record::Publication::removal(&key(aor, name))));
        }
        self.change(ctx, aor, |resource| resource.publications.retain(|p| p.name != name), actions);
    }

    pub(super) fn restore_publication(&mut self, key: &[u8], value: &[u8], unix_ms: u64) -> Option<()> {
        let split = key.iter().position(|byte| *byte == 0)?;
        let (aor, name) = (key.get(..split)?, key.get(split + 1..)?);
        let stored = record::Publication::read(value).ok()?;
        if stored.expires <= unix_ms {
            self.stale.push(record::Publication::removal(key));
            return Some(());
        }
        let body = text::bytes(&stored.body)?;
        let publication = Publication {
            id: self.next_id(),
            name: String::from_utf8(name.to_vec()).ok()?,
            etag: stored.etag,
            expires: stored.expires,
            changed: stored.changed,
            device: stored.device,
            presentation: Presentation::read(&body).ok()?,
            body,
        };
        self.published += publication.body.len();
        self.publishers.insert(publication.id, aor.to_vec());
        self.resources.entry(aor.to_vec()).or_default().publications.push(publication);
        Some(())
    }
}

/// The document of a request, if it has one, as it came and in pieces.
fn body(msg: Msg<'_>) -> Result<Option<(Vec<u8>, Presentation)>, Refusal> {
    let body = msg.body();
    if body.is_empty() {
        return Ok(None);
    }
    let identity =
        msg.values(HeaderId::ContentEncoding).all(|coding| coding.eq_ignore_ascii_case(b"identity"));
    if !identity {
        return Err(Refusal::new(415).with("Accept-Encoding", "identity"));
    }
    let kind = msg.content_type().map(|(kind, _)| kind).unwrap_or_default();
    if !kind.eq_ignore_ascii_case(pidf::TYPE.as_bytes()) {
        return Err(Refusal::new(415).with("Accept", pidf::TYPE));
    }
    if body.len() > Events::BODY {
        return Err(Refusal::new(413));
    }
    let presentation = Presentation::read(body).map_err(|fault| {
        Refusal::new(400).because(&format!("no presence document: {} at byte {}", fault.what, fault.at))
    })?;
    Ok(Some((body.to_vec(), presentation)))
}

/// What the device that sent a request calls itself: host and port of the undermost Via.
fn device(msg: Msg<'_>) -> String {
    let Some(via) = msg.vias().last().flatten() else { return String::new() };
    let host = String::from_utf8_lossy(via.host);
    via.port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

fn key(aor: &[u8], name: &str) -> Vec<u8> {
    [aor, &[0], name.as_bytes()].concat()
}

fn record_of(aor: &[u8], publication: &Publication) -> causeway_node::Record {
    let value = record::Publication {
        etag: publication.etag.clone(),
        expires: publication.expires,
        changed: publication.changed,
        device: publication.device.clone(),
        body: text::kept(&publication.body),
    };
    value.record(key(aor, &publication.name))
}
