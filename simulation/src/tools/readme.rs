//! Parts of `simulation/README.md` that are computed: between two markers each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub fn default_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Puts `body` between the markers of `part`, in the file.
pub fn write(path: &Path, part: &str, body: &str) -> Result<()> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let text = replaced(&text, part, body)
        .with_context(|| format!("{} has no markers for {part}", path.display()))?;
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// None where the markers are not there.
fn replaced(text: &str, part: &str, body: &str) -> Option<String> {
    let (before, rest) = text.split_once(&begin(part))?;
    let end = end(part);
    let (_, after) = rest.split_once(&end)?;
    let begin = begin(part);
    Some(format!(
        "{before}{begin}\n{}\n{end}{after}",
        body.trim_end()
    ))
}

fn begin(part: &str) -> String {
    format!("<!-- {part}: written by the command, do not edit -->")
}

fn end(part: &str) -> String {
    format!("<!-- end of {part} -->")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = |body: &str| format!("a\n{}{body}{}\nz\n", begin("x"), end("x"));
        let written = replaced(&text("\nold\n"), "x", "new\n").expect("markers");
        assert_eq!(written, text("\nnew\n"));
        assert_eq!(replaced(&written, "x", "new").as_deref(), Some(&*written));
        assert!(replaced("no markers", "x", "new").is_none());
    }
}
