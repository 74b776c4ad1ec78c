//! Which documents the XML reader takes.

use super::super::xml::*;

fn read(text: &str) -> Result<usize, Fault> {
    let (mut reader, mut count) = (Reader::new(text), 0);
    while reader.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[test]
fn what_is_well_formed() {
    for text in [
        "<a/>",
        "\u{feff}<?xml version='1.0' encoding=\"utf-8\" standalone='yes'?>\n<a></a>",
        "<!-- x --><?pi y?><a><!----><?pi?><![CDATA[<&]]]]></a ><!-- z -->",
        "<a b='&amp;&#65;&#x1F600;' c=\"'\">&lt;]]&gt; ></a>",
        "<p:a xmlns:p='u' p:b='1' b='2' xml:lang='de'><p:c xmlns:p='v'/><p:d/></p:a>",
        "<é-1.x/>",
    ] {
        assert!(read(text).is_ok(), "{text} {:?}", read(text));
    }
}

#[test]
fn what_is_not() {
    for text in [
        "",
        " ",
        "x<a/>",
        "<a/>x",
        "<a/><b/>",
        "<a>",
        "</a>",
        "<a></b>",
        "<a><b></a></b>",
        "<a",
        "<a b>",
        "<a b=c/>",
        "<a b='<'/>",
        "<a b='1'b='2'/>",
        "<a b='1' b='2'/>",
        "<p:a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<a xmlns='u' xmlns='v'/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<a><b xmlns:p='u'/><p:c/></a>",
        "<a xmlns:p=''/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns:p='u}v'/>",
        "<a:b:c xmlns:a='u'/>",
        "<:a/>",
        "<1/>",
        "< a/>",
        "<a>&</a>",
        "<a>&nbsp;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>]]></a>",
        "<a>\u{1}</a>",
        "<a>\u{ffff}</a>",
        "<a><!-- -- --></a>",
        "<a><?xml version='1.0'?></a>",
        " <?xml version='1.0'?><a/>",
        "<?xml version='1.0' encoding='utf-16'?><a/>",
        "<?xml encoding='utf-8'?><a/>",
        "<?xml?><a/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<![CDATA[x]]><a/>",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn depth_and_attributes_are_bounded() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(read(&nested(DEPTH)).is_ok() && read(&nested(DEPTH + 1)).is_err());
    let many = |count: usize| {
        let list: String = (0..count).map(|i| format!(" a{i}=''")).collect();
        format!("<a{list}/>")
    };
    assert!(read(&many(ATTRIBUTES)).is_ok() && read(&many(ATTRIBUTES + 1)).is_err());
}

#[test]
fn names_in_their_spaces() {
    let mut reader = Reader::new("<a xmlns='u' xmlns:p='v'><p:b xmlns=''><c/></p:b><d/></a>");
    let mut seen = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        if let Event::Open(element) = event {
            seen.push((element.space, element.local));
        }
    }
    assert_eq!(seen, [("u", "a"), ("v", "b"), ("", "c"), ("u", "d")]);
}

#[test]
fn escaped_text_stays_text() {
    let mut out = String::new();
    escape("<\"a\"&'b'>\u{0}\n", &mut out);
    assert_eq!(out, "&lt;&quot;a&quot;&amp;&apos;b&apos;&gt;\u{fffd} ");
    assert!(read(&format!("<a b=\"{out}\">{out}</a>")).is_ok());
}
