// Package jwt lets clients in by JSON Web Tokens, as OAuth 2.0 and OpenID Connect give
// them (RFC 7519, RFC 9068), signed by a key that the operator trusts.
//
// The token is the password of CONNECT. A password that does not look like one is for
// others to judge; one that does is good or refused here, whatever else the client knows.
// Or it is the authentication data of a Method: who has come so can go on with another
// token when that one is over.
//
// Which algorithms a signature may have follows from the key it is checked with, and never
// from the token alone: an RSA key checks RS and PS, a key on a curve that curve's, a
// secret HS, and where the key names an algorithm, that one. So a token without a signature
// is good for nothing, and a public key is nobody's secret (RFC 8725, 3.1 and 3.2). Keys
// come from files (Keys), or from the server that signs (Remote), which is asked again when
// a token names a key that is not there.
//
// What a token says of its bearer becomes an auth.Principal: the user, the groups that
// rules can speak of, rules of its own, and when all that ends. A claim that cannot be
// understood refuses the client: a right that is left out may be one that forbids.
//
// Nothing of a token is logged, nor part of an error.
package jwt
