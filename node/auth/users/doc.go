// Package users lets clients in by user name and password, from a file and from the
// cluster's store.
//
// The file has a user on each line, the name, a colon, and a Record of the password: its
// hash as package password makes it, with verifiers of package scram after it or in its
// place. Files of mosquitto_passwd are understood. Lines that are empty or begin with # say
// nothing. A file that has an error, or nobody in it, is not taken: where one was in use
// before, that remains (case 45).
//
// The store has of each user what follows the name in a line of the file. There may be
// nobody in it, and who is not understood is left out: others are no worse off, and that
// one is not let in.
//
// A client whose name is in the file or, if it is not, in the store, is let in or refused
// here; of others the next authenticator is asked, after as long a time (case 44). For who
// has a verifier, package scram does that, with Verifiers.
package users
