//! Digest against the examples of the RFCs and values computed apart from this code (Python's hashlib).

use causeway_sip::Method;
use causeway_sip::digest::{
    self, Algorithm, Challenge, Credentials, DigestError, Ha1, Hash, NewChallenge, Session, choose,
};

const GET: Method<'static> = Method::Other(b"GET");

/// RFC 2617 §3.5.
#[test]
fn rfc_2617() {
    let header = br#"Digest username="Mufasa",
                 realm="testrealm@host.com",
                 nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
                 uri="/dir/index.html",
                 qop=auth,
                 nc=00000001,
                 cnonce="0a4f113b",
                 response="6629fae49393a05397450978507c4ef1",
                 opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
    let credentials = Credentials::parse(header).unwrap();
    assert_eq!((credentials.count, credentials.cnonce()), (Some(1), &b"0a4f113b"[..]));
    let ha1 = Ha1::new(Algorithm::MD5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life");
    assert!(credentials.prove(&ha1, GET));
    assert!(!credentials.prove(&ha1, Method::Other(b"get")));
    let wrong = Ha1::new(Algorithm::MD5, b"Mufasa", b"testrealm@host.com", b"Circle of Life");
    assert!(!credentials.prove(&wrong, GET));
}

const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
const CNONCE: &[u8] = b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

/// RFC 7616 §3.9.1: the same challenge with both algorithms.
#[test]
fn rfc_7616() {
    let challenge = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, nonce=\"{NONCE}\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    let (sha, md5) = (challenge("SHA-256"), challenge("MD5"));
    for (values, response) in [
        (vec![&md5], "8ca523f5e9506fed4657c9700eebdbec"),
        (vec![&md5, &sha], "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (vec![&sha, &md5], "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let chosen = choose(values.into_iter().map(|value| value.as_bytes())).unwrap();
        let header =
            Session::new(&chosen, b"Mufasa", b"Circle of Life").answer(GET, b"/dir/index.html", CNONCE);
        let credentials = Credentials::parse(&header).unwrap();
        assert_eq!(credentials.response(), response.as_bytes());
        assert_eq!(credentials.opaque.as_deref(), Some(&b"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"[..]));
        let ha1 = Ha1::new(credentials.algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life");
        assert!(credentials.prove(&ha1, GET));
    }
}

/// user `alice`, realm `example.com`, password `se:cr"et`, nonce `n0nce==`, REGISTER sip:example.com, the tenth
/// request with cnonce `c0ffee`.
#[test]
fn every_algorithm() {
    for (algorithm, ha1, response) in [
        ("MD5", "4104416f00c89891b61efff90c2579f7", "8b9b62bab55251611b302d5fbcfd04ee"),
        ("MD5-sess", "4104416f00c89891b61efff90c2579f7", "b15f5284552c1b668831a4c907dbcbca"),
        (
            "SHA-256",
            "693f24456d44e2e9b23f9daf1768b0d2cc626df9de7707ae8ca1515117c60f56",
            "13ae37595ac46986518a3c73892b24d8aa576c96b57be1996425beaa41213460",
        ),
        (
            "SHA-256-sess",
            "693f24456d44e2e9b23f9daf1768b0d2cc626df9de7707ae8ca1515117c60f56",
            "604e5a89b0937e0fe700ee99b8bdaf7047fdd82f429fab1d65866e1d2e403c9b",
        ),
        (
            "SHA-512-256",
            "fbf040d57ba52ccc0bf4d51d3668830468227091df3ecf54630899be05a25ef2",
            "9576937397ec1ce4ea8a9313e91422cdf0d1323bffce75292aca48cc193e5448",
        ),
        (
            "SHA-512-256-sess",
            "fbf040d57ba52ccc0bf4d51d3668830468227091df3ecf54630899be05a25ef2",
            "319e293bc35c3256ec48f64258006d8af074d5013fff3d24ee07a1279bd516aa",
        ),
    ] {
        let known = Algorithm::of(algorithm.to_ascii_lowercase().as_bytes()).unwrap();
        assert_eq!(known.name(), algorithm);
        let secret = Ha1::new(known, b"alice", b"example.com", b"se:cr\"et");
        assert_eq!(secret.expose_hex(), ha1.as_bytes());
        assert_eq!(Ha1::from_hex(known.hash, ha1.to_uppercase().as_bytes()), Some(secret.clone()));

        let value = NewChallenge::new(b"example.com", b"n0nce==", known).value();
        let mut session = Session::new(&Challenge::parse(&value).unwrap(), b"alice", b"se:cr\"et");
        let header =
            (0..10).map(|_| session.answer(Method::Register, b"sip:example.com", b"c0ffee")).last().unwrap();
        let credentials = Credentials::parse(&header).unwrap();
        assert_eq!(credentials.count, Some(10));
        assert_eq!(credentials.response(), response.as_bytes(), "{algorithm}");
        assert!(credentials.prove(&secret, Method::Register));
        assert!(digest::prove(&credentials.question(Method::Register), &secret));
        assert!(!digest::prove(&credentials.question(Method::Invite), &secret));
    }
}

/// Without qop, as RFC 2069 had it; the first value is the corrected example of that RFC's errata.
#[test]
fn without_qop() {
    for (user, realm, password, nonce, method, uri, response) in [
        (
            "Mufasa",
            "testrealm@host.com",
            "CircleOfLife",
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "GET",
            "/dir/index.html",
            "1949323746fe6a43ef61f9606e7febea",
        ),
        (
            "alice",
            "example.com",
            "se:cr\"et",
            "n0nce==",
            "REGISTER",
            "sip:example.com",
            "1a74a7b9479ab51bcd2c861c4568049a",
        ),
    ] {
        let method = Method::of(method.as_bytes());
        let value = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\"");
        let challenge = Challenge::parse(value.as_bytes()).unwrap();
        assert!(!challenge.qop_auth && challenge.algorithm == Algorithm::MD5);
        let header = Session::new(&challenge, user.as_bytes(), password.as_bytes()).answer(
            method,
            uri.as_bytes(),
            b"x",
        );
        let credentials = Credentials::parse(&header).unwrap();
        assert_eq!((credentials.response(), credentials.count), (response.as_bytes(), None));
        let ha1 = Ha1::new(Algorithm::MD5, user.as_bytes(), realm.as_bytes(), password.as_bytes());
        assert!(credentials.prove(&ha1, method));
    }
}

#[test]
fn what_is_refused() {
    let parse = |value: &str| Credentials::parse(value.as_bytes()).map(drop);
    let good = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:u\", response=\"00\"";
    assert_eq!(parse(good), Ok(()));
    assert_eq!(parse(&format!("{good},,  algorithm = md5 ,")), Ok(()));
    assert_eq!(parse("NoOneKnowsThisScheme opaque-data=here"), Err(DigestError::Scheme));
    assert_eq!(parse("Digest"), Err(DigestError::Missing("username")));
    assert_eq!(parse(&format!("{good}, algorithm=AKAv1-MD5")), Err(DigestError::Algorithm));
    assert_eq!(parse(&format!("{good}, qop=auth-int, nc=00000001, cnonce=\"x\"")), Err(DigestError::Qop));
    assert_eq!(parse(&format!("{good}, qop=auth, cnonce=\"x\"")), Err(DigestError::Missing("nc")));
    assert_eq!(parse(&format!("{good}, qop=auth, nc=1, cnonce=\"x\"")), Err(DigestError::Malformed));
    assert_eq!(parse(&format!("{good}, algorithm=MD5-sess")), Err(DigestError::Missing("cnonce")));
    assert_eq!(parse(&format!("{good}, username=\"b\"")), Err(DigestError::Malformed));
    assert_eq!(parse(&format!("{good}, x=\"never closed")), Err(DigestError::Malformed));
    assert_eq!(parse(&format!("{good}, junk")), Err(DigestError::Malformed));
    assert_eq!(choose([&b"Basic realm=\"x\""[..], b"Digest realm=\"r\""]).map(drop), None);
    assert!(Ha1::from_hex(Hash::Md5, b"4104416f00c89891b61efff90c2579f").is_none());
    assert!(Ha1::from_hex(Hash::Md5, b"4104416f00c89891b61efff90c2579fg").is_none());
}

/// No value can break out of its quotes or its line, and no secret is printed.
#[test]
fn quoting_and_redaction() {
    let value = NewChallenge::new(b"a\", nonce=\"evil\r\nX: y", b"\\n", Algorithm::SHA256).value();
    assert!(!value.contains(&b'\n'));
    let challenge = Challenge::parse(&value).unwrap();
    assert_eq!((&*challenge.realm, &*challenge.nonce), (&b"a\", nonce=\"evil  X: y"[..], &b"\\n"[..]));
    let session = Session::new(&challenge, b"alice", b"sesame");
    let ha1 = Ha1::new(challenge.algorithm, b"alice", &challenge.realm, b"sesame");
    let hex = String::from_utf8(ha1.expose_hex().to_vec()).unwrap();
    for shown in [format!("{session:?}"), format!("{ha1:?}")] {
        assert!(
            shown.contains("redacted") && !shown.contains(&hex[..8]) && !shown.contains("sesame"),
            "{shown}"
        );
    }
}
