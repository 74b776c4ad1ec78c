//! Methods: an open set.

use std::fmt;

macro_rules! methods {
    ($($id:ident $name:literal $rfc:literal;)*) => {
        /// The method of a request, or of a CSeq. Case matters (RFC 3261 §7.1); any token is allowed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $name, "`, ", $rfc)] $id,)*
            /// Any other, as it was written.
            Other(&'a [u8]),
        }

        impl<'a> Method<'a> {
            /// The method that these bytes spell.
            #[inline]
            pub fn of(bytes: &'a [u8]) -> Method<'a> {
                $(if bytes == $name.as_bytes() { return Method::$id; })*
                Method::Other(bytes)
            }

            /// As it stands in a message.
            #[inline]
            pub fn as_bytes(&self) -> &'a [u8] {
                match self {
                    $(Method::$id => $name.as_bytes(),)*
                    Method::Other(bytes) => bytes,
                }
            }
        }
    };
}

methods! {
    Invite "INVITE" "RFC 3261 §13";
    Ack "ACK" "RFC 3261 §13.2.2.4";
    Bye "BYE" "RFC 3261 §15";
    Cancel "CANCEL" "RFC 3261 §9";
    Options "OPTIONS" "RFC 3261 §11";
    Register "REGISTER" "RFC 3261 §10";
    Prack "PRACK" "RFC 3262";
    Subscribe "SUBSCRIBE" "RFC 6665";
    Notify "NOTIFY" "RFC 6665";
    Publish "PUBLISH" "RFC 3903";
    Info "INFO" "RFC 6086";
    Refer "REFER" "RFC 3515";
    Message "MESSAGE" "RFC 3428";
    Update "UPDATE" "RFC 3311";
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_matters_and_strangers_keep_their_spelling() {
        assert_eq!(Method::of(b"INVITE"), Method::Invite);
        assert_eq!(Method::of(b"invite"), Method::Other(b"invite"));
        assert_eq!(Method::of(b"RE%47IST%45R").as_bytes(), b"RE%47IST%45R");
        assert_eq!(Method::Update.to_string(), "UPDATE");
    }
}
