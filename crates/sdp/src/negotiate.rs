//! Offer and answer for one audio stream (RFC 3264): what a telephone needs.

use crate::attributes::Direction;
use crate::media::Media;
use crate::view::Sdp;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// An audio encoding that a telephone can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The payload type that is offered; an answer uses the offerer's.
    pub payload: u8,
    /// The encoding; compared without case.
    pub encoding: &'static str,
    /// The clock rate in Hz.
    pub clock: u32,
    /// The `a=fmtp` parameters.
    pub fmtp: Option<&'static str>,
}

impl Codec {
    /// G.711 μ-law.
    pub const PCMU: Codec = Codec { payload: 0, encoding: "PCMU", clock: 8000, fmtp: None };
    /// G.711 A-law.
    pub const PCMA: Codec = Codec { payload: 8, encoding: "PCMA", clock: 8000, fmtp: None };
    /// Keys pressed (RFC 4733).
    pub const TELEPHONE_EVENT: Codec =
        Codec { payload: 101, encoding: "telephone-event", clock: 8000, fmtp: Some("0-16") };

    fn is_event(&self) -> bool {
        self.encoding == Codec::TELEPHONE_EVENT.encoding
    }
}

/// This end of an audio stream.
#[derive(Clone, Debug)]
pub struct Local {
    /// Where media is received.
    pub address: SocketAddr,
    /// The session's number, chosen once.
    pub session_id: u64,
    /// Larger after each change of the description (RFC 3264 §8).
    pub version: u64,
    /// Which way media shall flow.
    pub direction: Direction,
    /// What can be received, the best first.
    pub codecs: Vec<Codec>,
    /// The packet time in milliseconds.
    pub ptime: u16,
}

/// What offer and answer have settled, seen from this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Where to send RTP to; `None` while the peer is on hold or has no address.
    pub remote: Option<SocketAddr>,
    /// Where to send RTCP to.
    pub remote_rtcp: Option<SocketAddr>,
    /// The encoding, with the payload type to send.
    pub codec: Codec,
    /// The payload type of key presses, if they are agreed.
    pub events: Option<u8>,
    /// Which way media flows, seen from here.
    pub direction: Direction,
    /// The packet time that the peer would like, in milliseconds.
    pub ptime: Option<u16>,
}

/// Why there is no common ground; a 488 answers the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// No usable audio over RTP.
    #[error("no audio over RTP/AVP is offered")]
    NoAudio,
    /// No common encoding.
    #[error("no common audio encoding")]
    NoCodec,
    /// An answer without the right media sections.
    #[error("the answer does not fit the offer")]
    Mismatch,
    /// The peer has declined the stream with port 0.
    #[error("the peer has declined the audio stream")]
    Declined,
}

impl Local {
    /// A telephone's usual end: PCMU, PCMA and key presses, both ways, 20 ms.
    pub fn new(address: SocketAddr, session_id: u64) -> Local {
        let codecs = vec![Codec::PCMU, Codec::PCMA, Codec::TELEPHONE_EVENT];
        Local { address, session_id, version: 1, direction: Direction::SendRecv, codecs, ptime: 20 }
    }

    fn session(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let (family, ip) = family(self.address.ip());
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
            self.session_id, self.version
        );
        out
    }

    fn audio(&self, out: &mut Vec<u8>, proto: &[u8], codecs: &[Codec], direction: Direction, extra: &[u8]) {
        let _ = write!(out, "m=audio {} ", self.address.port());
        out.extend_from_slice(proto);
        for codec in codecs {
            let _ = write!(out, " {}", codec.payload);
        }
        out.extend_from_slice(b"\r\n");
        for codec in codecs {
            let _ = write!(out, "a=rtpmap:{} {}/{}\r\n", codec.payload, codec.encoding, codec.clock);
            if let Some(fmtp) = codec.fmtp {
                let _ = write!(out, "a=fmtp:{} {fmtp}\r\n", codec.payload);
            }
        }
        let _ = write!(out, "a=ptime:{}\r\na={}\r\n", self.ptime, direction.name());
        out.extend_from_slice(extra);
    }

    /// The offer.
    pub fn offer(&self) -> Vec<u8> {
        let mut out = self.session();
        self.audio(&mut out, b"RTP/AVP", &self.codecs, self.direction, b"");
        out
    }

    /// The answer to an offer, and what is settled by it (RFC 3264 §6): the first audio stream with a common
    /// encoding is taken, every other stream declined with port 0. Encodings are taken in the offerer's order
    /// and with its payload types.
    ///
    /// # Errors
    /// [`NegotiationError`] when there is nothing to take.
    pub fn answer(&self, offer: Sdp<'_>) -> Result<(Vec<u8>, Agreed), NegotiationError> {
        let mut reason = NegotiationError::NoAudio;
        let mut taken = None;
        for media in offer.media().flatten().filter(usable) {
            let codecs = self.common(media);
            match codecs.iter().find(|codec| !codec.is_event()) {
                Some(&codec) => {
                    taken = Some((media, codecs, codec));
                    break;
                }
                None => reason = NegotiationError::NoCodec,
            }
        }
        let (media, codecs, codec) = taken.ok_or(reason)?;
        let offered = if media.held() { without_receiving(media.direction()) } else { media.direction() };
        let direction = offered.answer(self.direction);
        let mut out = self.session();
        for n in 0..offer.media_count() {
            if n != media.number {
                decline(&mut out, offer, n);
                continue;
            }
            let mut extra = Vec::new();
            for name in [&b"rtcp-mux"[..], b"mid"] {
                if let Some(attribute) = media.section().attribute(name) {
                    push_attribute(&mut extra, attribute);
                }
            }
            self.audio(&mut out, media.proto, &codecs, direction, &extra);
        }
        Ok((out, agreed(media, codec, &codecs, direction)))
    }

    /// What is settled by the answer to this end's offer.
    ///
    /// # Errors
    /// [`NegotiationError`] when the answer has no audio stream, declines it, or has no common encoding.
    pub fn agree(&self, answer: Sdp<'_>) -> Result<Agreed, NegotiationError> {
        let media = answer.media_at(0).ok_or(NegotiationError::Mismatch)?;
        if media.rejected() {
            return Err(NegotiationError::Declined);
        }
        if !usable(&media) {
            return Err(NegotiationError::Mismatch);
        }
        let codecs = self.common(media);
        let codec = codecs.iter().find(|codec| !codec.is_event()).ok_or(NegotiationError::NoCodec)?;
        let theirs = if media.held() { without_receiving(media.direction()) } else { media.direction() };
        Ok(agreed(media, *codec, &codecs, theirs.answer(self.direction)))
    }

    /// The encodings of the peer's stream that this end has too, in the peer's order with its payload types.
    fn common(&self, media: Media<'_>) -> Vec<Codec> {
        let mut codecs: Vec<Codec> = Vec::new();
        for payload in media.formats().take(64).filter_map(crate::view::number::<u8>) {
            let Some(map) = media.encoding(payload).filter(|map| map.channels == 1) else { continue };
            let same = |codec: &&Codec| {
                codec.clock == map.clock && codec.encoding.as_bytes().eq_ignore_ascii_case(map.encoding)
            };
            if let Some(codec) = self.codecs.iter().find(same)
                && codecs.iter().all(|seen| seen.payload != payload)
            {
                codecs.push(Codec { payload, ..*codec });
            }
        }
        codecs
    }
}

fn agreed(media: Media<'_>, codec: Codec, codecs: &[Codec], direction: Direction) -> Agreed {
    Agreed {
        remote: media.target(),
        remote_rtcp: media.rtcp_target(),
        codec,
        events: codecs.iter().find(|codec| codec.is_event()).map(|codec| codec.payload),
        direction,
        ptime: media.ptime(),
    }
}

/// An address of 0.0.0.0 means that nothing is to be sent there (RFC 3264 §8.4).
fn without_receiving(direction: Direction) -> Direction {
    Direction::from_flags(direction.sends(), false)
}

fn usable(media: &Media<'_>) -> bool {
    let proto = [&b"RTP/AVP"[..], b"RTP/AVPF"].iter().any(|proto| media.proto.eq_ignore_ascii_case(proto));
    media.kind.eq_ignore_ascii_case(b"audio") && proto && media.port != 0 && media.connection().is_some()
}

fn family(ip: IpAddr) -> (&'static str, IpAddr) {
    (if ip.is_ipv4() { "IP4" } else { "IP6" }, ip)
}

fn push_attribute(out: &mut Vec<u8>, attribute: crate::Attribute<'_>) {
    out.extend_from_slice(b"a=");
    out.extend_from_slice(attribute.name);
    if let Some(value) = attribute.value {
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The same `m=` line with port 0, whatever else stands there.
fn decline(out: &mut Vec<u8>, offer: Sdp<'_>, n: usize) {
    match offer.media_at(n) {
        Some(media) => {
            out.extend_from_slice(b"m=");
            out.extend_from_slice(media.kind);
            out.extend_from_slice(b" 0 ");
            out.extend_from_slice(media.proto);
            for format in media.formats() {
                out.push(b' ');
                out.extend_from_slice(format);
            }
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"m=audio 0 RTP/AVP 0\r\n"),
    }
}
