//! The bodies of the fuzz targets: what must hold of any bytes.

use crate::{Edit, Index, Local, Sdp, check, find_sdp};

/// Indexes, reads, edits and answers whatever comes.
pub fn sdp(data: &[u8]) {
    let _ = check(data);
    if let Some(range) = find_sdp(b"multipart/mixed;boundary=b", data) {
        assert!(range.start <= range.end && range.end <= data.len());
    }
    let mut index = Index::new();
    if index.parse(data).is_err() {
        return;
    }
    let sdp = Sdp::new(data, &index);
    let (mut edit, mut out) = (Edit::new(), Vec::new());
    edit.apply(sdp, &mut out);
    assert_eq!(out, data, "without edits nothing changes");

    let local = Local::new("192.0.2.1:4000".parse().expect("an address"), 1);
    if let Ok((answer, _)) = local.answer(sdp) {
        let mut answered = Index::new();
        answered.parse(&answer).expect("our own answer is readable");
        assert_eq!(Sdp::new(&answer, &answered).media_count(), sdp.media_count(), "one section for each");
    }
    let _ = local.agree(sdp);
    rewritten(sdp, &mut edit, &mut out);
}

/// After a rewrite, no media goes anywhere but to the new address.
fn rewritten(sdp: Sdp<'_>, edit: &mut Edit, out: &mut Vec<u8>) {
    let ip = "203.0.113.7".parse().expect("an address");
    edit.set_addresses(sdp, ip);
    for media in sdp.media().flatten() {
        edit.set_port(sdp, media.number, 30000 + media.number as u16);
        edit.set_rtcp(sdp, media.number, None);
    }
    edit.remove_ice(sdp);
    out.clear();
    edit.apply(sdp, out);
    let mut after = Index::new();
    // Added lines may exceed the limits.
    if after.parse(out).is_err() {
        return;
    }
    let after = Sdp::new(out, &after);
    assert_eq!(after.media_count(), sdp.media_count());
    for media in after.media().flatten() {
        let target = media.target();
        assert!(
            target.is_none_or(|target| target.ip() == ip && target.port() >= 30000),
            "{media:?}: {target:?}"
        );
        assert!(!media.section().attributes().any(|attribute| attribute.is_ice()));
    }
}
