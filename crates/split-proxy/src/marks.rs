//! How packets are marked for the routers on their way, per kind of traffic.

use causeway_node::Dscp;
use causeway_tunnel::Kind;
use std::str::FromStr;

/// The code points of what a half sends (RFC 4594, RFC 8837). Routers of other networks may clear them; inside the
/// tunnel nothing of them is carried, each half marks what it sends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Audio and its RTCP. Default EF (46).
    pub audio: Dscp,
    /// Video and its RTCP. Default AF41 (34).
    pub video: Dscp,
    /// Other media: T.38, text, MSRP. Default 0.
    pub other: Dscp,
    /// SIP towards phones or server. Default CS3 (24).
    pub sip: Dscp,
    /// The tunnel's connection, which carries all of these: one mark, since a connection whose segments are treated
    /// differently only sees them reordered (RFC 7657 §5.4). Default AF41 (34).
    pub tunnel: Dscp,
}

impl Default for Marks {
    fn default() -> Self {
        Self { audio: Dscp::EF, video: Dscp::AF41, other: Dscp::DEFAULT, sip: Dscp::CS3, tunnel: Dscp::AF41 }
    }
}

impl Marks {
    /// The mark of the media of one kind of lane; RTCP goes with its RTP and is not asked for.
    pub(crate) fn of(&self, kind: Kind) -> Dscp {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            _ => self.other,
        }
    }
}

/// What is wrong with the text of [`Marks`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\": it must be a list of audio=N, video=N, other=N, sip=N, tunnel=N with N from 0 to 63, such as audio=46,sip=24"
)]
pub struct MarksError(String);

impl FromStr for Marks {
    type Err = MarksError;

    /// `audio=46,video=34`: what is not named keeps its default.
    fn from_str(text: &str) -> Result<Self, MarksError> {
        let mut marks = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = || MarksError(part.to_owned());
            let (name, code) = part.split_once('=').ok_or_else(wrong)?;
            let code: Dscp = code.trim().parse().map_err(|_| wrong())?;
            match name.trim() {
                "audio" => marks.audio = code,
                "video" => marks.video = code,
                "other" => marks.other = code,
                "sip" => marks.sip = code,
                "tunnel" => marks.tunnel = code,
                _ => return Err(wrong()),
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let marks: Marks = "audio=10, sip=0".parse().unwrap();
        let expected = Marks { audio: "10".parse().unwrap(), sip: Dscp::DEFAULT, ..Marks::default() };
        assert_eq!(marks, expected);
        assert_eq!("".parse(), Ok(Marks::default()));
        for wrong in ["audio", "audio=64", "fax=1", "audio=46;video=34", "=1"] {
            assert!(wrong.parse::<Marks>().is_err(), "{wrong}");
        }
    }
}
