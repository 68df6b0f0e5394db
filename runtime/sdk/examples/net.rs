//! Sockets of the server's: listens there, connects there, and sends a line from one to the other. Then a directory.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let server = rsc_sdk::Config::from_environment().connect()?;
    let listener = server.listen_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let there = server.clone();
    let client = std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = there.connect_tcp(address)?;
        stream.write_all(b"through the server\n")?;
        stream.shutdown(std::net::Shutdown::Write)
    });
    let (mut stream, peer) = listener.accept()?;
    let mut line = String::new();
    stream.read_to_string(&mut line)?;
    println!("{} {}", peer.ip(), line.trim_end());
    client.join().map_err(|_| "the client has panicked")??;
    server.create_dir("/made")?;
    server.write("/made/a", "abc")?;
    server.rename("/made/a", "/made/b")?;
    println!("{} {}", server.metadata("/made/b")?.size(), server.metadata("/made")?.is_dir());
    for entry in server.read_dir("/made")? {
        println!("{}", entry.file_name().to_string_lossy());
    }
    server.remove_file("/made/b")?;
    server.remove_dir("/made")?;
    Ok(())
}
