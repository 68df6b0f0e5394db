//! rsc oci.
