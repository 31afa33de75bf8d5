//! What the attribute accepts, and what it says of everything else; see `ui/README.md`.

#[test]
fn every_fault_is_reported_on_its_token() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
