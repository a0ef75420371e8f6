<?php secret
