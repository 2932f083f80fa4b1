//! Compiles the link's messages without a `protoc` on the machine.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["codraft/v1/link.proto"];
    println!("cargo:rerun-if-changed=codraft");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
