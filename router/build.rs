//! The page is built apart (`client/`). Where it was not, the binary still builds and
//! says so instead of serving it.
#![allow(clippy::disallowed_methods)] // a build script reads the source tree

use std::{env, fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../client/dist");
    let built = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../client/dist");
    let folder = if built.join("index.html").is_file() {
        built.canonicalize()?
    } else {
        let stand_in = Path::new(&env::var("OUT_DIR")?).join("page");
        fs::create_dir_all(&stand_in)?;
        fs::write(
            stand_in.join("index.html"),
            include_str!("src/page/not_built.html"),
        )?;
        stand_in
    };
    let files =
        format!("#[derive(rust_embed::RustEmbed)]\n#[folder = {folder:?}]\nstruct Files;\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("page.rs"), files)?;
    Ok(())
}
