//! The page: one file, nothing from elsewhere.

const SCRIPT: &str = concat!(include_str!("chart.js"), "\n", include_str!("page.js"));

/// `json` is the report; the page draws itself from it.
pub fn html(json: &str) -> String {
    // Inside a script element only its end tag, and comments that look like HTML's, matter.
    let json = json.replace("</", "<\\/").replace("<!--", "<\\u0021--");
    let parts = [
        ("/* style */", include_str!("page.css")),
        ("/* report */", &json),
        ("/* script */", SCRIPT),
    ];
    let mut out = String::new();
    let mut rest = include_str!("page.html");
    // In the order of the template, and never into what was put in.
    for (place, part) in parts {
        if let Some((before, after)) = rest.split_once(place) {
            out += before;
            out += part;
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_breaks_out() {
        let page = html(r#"{"text":"</script><!-- /* script */"}"#);
        assert!(!page.contains("</script><!--"));
        assert_eq!(page.matches("</script>").count(), 2);
        for outside in ["src=", "href=\"http", "url(", "@import", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("function"), "the script is there");
    }
}
