// What a library of precompiled headers is made from: nothing of its own.
