//! Text made safe to stand in markup, as content and in quoted attributes.

/// `text` with everything that markup could mistake for itself replaced. Control characters other than
/// line feeds and tabs have no place in a page and become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + text.len() / 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() => safe.push('\u{FFFD}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(
            escape("<b title=\"x\" id='y'>&amp;\u{0}"),
            "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;\u{FFFD}"
        );
    }

    proptest! {
        #[test]
        fn nothing_raw_is_left_and_nothing_is_lost(text in any::<String>()) {
            let safe = escape(&text);
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            let back = safe
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&#39;", "'")
                .replace("&amp;", "&");
            let wanted: String = text
                .chars()
                .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c })
                .collect();
            prop_assert_eq!(back, wanted);
        }
    }
}
