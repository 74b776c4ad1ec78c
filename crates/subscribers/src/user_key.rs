//! Keys of the tunnel, derived where HA1 is.

use super::{Subscribers, entry};
use causeway_node::{DerivedKey, UserKey};
use causeway_sip::Method;
use causeway_sip::digest::{self, Credentials};
use causeway_tunnel::key::{Assurance, Facts, derive};

impl Subscribers {
    /// The key that a user inherits from a registration of his. None unless the Authorization was made with his
    /// password for a REGISTER, and the address of record is his: whoever asks must have seen him register.
    pub fn user_key(&mut self, asked: &UserKey) -> Option<DerivedKey> {
        let credential = Credentials::parse(&asked.authorization).ok()?.question(Method::Register);
        self.set_key(&credential);
        self.freshen().ok()?;
        let entry = self.entry()?;
        let own = entry::login_of(&asked.aor) == self.key;
        let ha1 = entry.ha1(credential.parts().algorithm)?;
        if !own || !digest::prove(&credential, &ha1) {
            return None;
        }
        let facts = Facts {
            mode: Assurance::Digest,
            aor: &asked.aor,
            authorization: &asked.authorization,
            agent_fresh: &asked.agent_fresh,
            contact_fresh: &asked.contact_fresh,
            connection_epoch: asked.connection_epoch,
            registration_epoch: asked.registration_epoch,
        };
        derive(&asked.exporter, ha1.expose_hex(), &facts).map(|master| DerivedKey::new(*master.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::digest::{Algorithm, Ha1, NewChallenge, Session, choose};
    use causeway_store::Store;

    fn authorization(algorithm: Algorithm, password: &[u8], method: Method<'_>) -> Vec<u8> {
        let challenge = NewChallenge::new(b"example.com", b"n0nce", algorithm).value();
        let mut client = Session::new(&choose([&challenge[..]]).unwrap(), b"alice", password);
        client.answer(method, b"sip:example.com", b"c0ffee")
    }

    fn asked(authorization: Vec<u8>, aor: &str) -> UserKey {
        UserKey {
            exporter: [1; 32],
            aor: aor.as_bytes().to_vec(),
            authorization,
            agent_fresh: [2; 32],
            contact_fresh: [3; 32],
            connection_epoch: 0,
            registration_epoch: 1,
        }
    }

    #[test]
    fn only_a_registration_of_the_user_himself_gives_a_key() {
        let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
        subscribers.add("sip:alice@example.com", b"secret", 1).unwrap();
        subscribers.add("sip:bob@example.com", b"secret", 1).unwrap();
        let alice = "sip:alice@example.com";
        for algorithm in [Algorithm::MD5, Algorithm::SHA256] {
            let question = asked(authorization(algorithm, b"secret", Method::Register), alice);
            let ha1 = Ha1::new(algorithm, b"alice", b"example.com", b"secret");
            let facts = Facts {
                mode: Assurance::Digest,
                aor: &question.aor,
                authorization: &question.authorization,
                agent_fresh: &[2; 32],
                contact_fresh: &[3; 32],
                connection_epoch: 0,
                registration_epoch: 1,
            };
            let expected = derive(&[1; 32], ha1.expose_hex(), &facts).unwrap();
            assert_eq!(subscribers.user_key(&question).unwrap().expose(), expected.expose());
        }
        let right = || authorization(Algorithm::MD5, b"secret", Method::Register);
        let mut refused =
            |authorization: Vec<u8>, aor| subscribers.user_key(&asked(authorization, aor)).is_none();
        assert!(refused(authorization(Algorithm::MD5, b"wrong", Method::Register), alice));
        assert!(refused(authorization(Algorithm::MD5, b"secret", Method::Invite), alice), "not a REGISTER");
        assert!(refused(right(), "sip:bob@example.com"), "not his address");
        assert!(refused(b"Basic x".to_vec(), alice));
        subscribers.set_password(alice, b"new").unwrap();
        assert!(subscribers.user_key(&asked(right(), alice)).is_none(), "no longer his password");
    }
}
