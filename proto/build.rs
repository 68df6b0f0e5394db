//! Compiles the `.proto` files without a `protoc`, and generates the syscall table from `syscalls.tbl`.

#[path = "build/table.rs"]
mod table;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/session.proto", "proto/control.proto", "proto/broker.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    std::fs::write(out.join("syscalls.rs"), table::generate(&std::fs::read_to_string("src/syscalls.tbl")?)?)?;
    println!("cargo:rerun-if-changed=src/syscalls.tbl");
    println!("cargo:rerun-if-changed=build");
    Ok(())
}
