//! Origins of pages, as browsers write them: compared to the letter, so what no browser ever sends
//! is refused when the router starts.

/// What is wrong with an origin of the configuration, and what to write; `None`: nothing.
pub fn origin_fault(origin: &str) -> Option<String> {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return Some(match origin.contains('*') {
            true => "there are no patterns: list each page's origin".to_owned(),
            false => "it starts with a scheme, as http://localhost:8080".to_owned(),
        });
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.len() < rest.len() {
        return Some(format!("it ends before the path: {scheme}://{authority}"));
    }
    if rest.contains('*') {
        return Some("there are no patterns: list each page's origin".to_owned());
    }
    if rest.contains('@') {
        return Some("it names no user".to_owned());
    }
    let lower = origin.to_ascii_lowercase();
    if lower != origin {
        return Some(format!("browsers write it in lower case: {lower}"));
    }
    let plain = |b: u8| b.is_ascii_graphic();
    if scheme.is_empty() || rest.is_empty() || !origin.bytes().all(plain) {
        return Some("it is scheme://host or scheme://host:port, in ASCII".to_owned());
    }
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    if let Some(host) = rest.strip_suffix(default) {
        return Some(format!(
            "browsers leave the usual port out: {scheme}://{host}"
        ));
    }
    let well_formed = rest.parse::<http::uri::Authority>();
    let port_or_none = |a: &http::uri::Authority| a.port_u16().is_some() || a.host() == rest;
    match well_formed.is_ok_and(|a| !a.host().is_empty() && port_or_none(&a)) {
        true => None,
        false => Some("it is scheme://host or scheme://host:port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_taken_and_nothing_else() {
        for good in [
            "http://127.0.0.1:7400",
            "https://example.com",
            "http://[::1]:8080",
            "https://xn--bcher-kva.example:8443",
            "chrome-extension://abcdefghijklmnop",
            "capacitor://localhost",
        ] {
            assert_eq!(origin_fault(good), None, "{good}");
        }
        for (bad, words) in [
            ("http://localhost:7400/", "http://localhost:7400"),
            ("https://example.com/app?x", "https://example.com"),
            ("localhost:7400", "scheme"),
            ("*", "patterns"),
            ("https://*.example.com", "patterns"),
            ("null", "scheme"),
            ("", "scheme"),
            ("http://", "scheme://host"),
            ("http://a:b", "scheme://host"),
            ("http://a:", "scheme://host"),
            ("http://a b", "scheme://host"),
            ("https://Example.com", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("https://ana@example.com", "user"),
            ("https://bücher.example", "ASCII"),
        ] {
            let fault = origin_fault(bad).unwrap_or_default();
            assert!(fault.contains(words), "{bad}: {fault:?}");
        }
    }
}
