// Package users lets clients in by user name and password, from a file.
//
// The file has a user on each line, the name, a colon, and the hash of the password as
// package password makes it: files of mosquitto_passwd are understood. Lines that are
// empty or begin with # say nothing. A file that has an error, or nobody in it, is not
// taken: where one was in use before, that remains (case 45).
//
// A client whose name is in the file is let in or refused here; of others the next
// authenticator is asked, after as long a time (case 44).
package users
