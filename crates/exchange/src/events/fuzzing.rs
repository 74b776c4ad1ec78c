//! The bodies of the fuzz targets: what must hold of any bytes.

/// Reads a presence document; if it is accepted, so is every document that is made of it.
pub fn pidf(data: &[u8]) {
    super::pidf::check(data);
}
